"""Super-resolution: the picture is seen at a lower resolution."""

from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float64
from pydantic import Field
from typing_extensions import override

from stages.degradations.base import Degradation


class SuperResolution(Degradation):
    """Average square blocks of pixels."""

    kind: Literal["super_resolution"] = "super_resolution"
    factor: int = Field(4, ge=2, description="Side of a block, in pixels; it must divide the picture's side.")

    scale: ClassVar = 0.3

    @override
    def axis(self, side: int) -> Float64[np.ndarray, "m {side}"]:
        if side % self.factor:
            raise ValueError(f"super_resolution: factor={self.factor} must divide the picture's side, which is {side}")
        return np.kron(np.eye(side // self.factor), np.full((1, self.factor), 1 / self.factor))
