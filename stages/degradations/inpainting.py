"""Inpainting: some pixels are hidden."""

from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float32
from pydantic import Field
from typing_extensions import override

from stages.degradations.base import Degradation


class BoxInpainting(Degradation):
    """Hide a square, somewhere in the picture."""

    kind: Literal["box_inpainting"] = "box_inpainting"
    share: float = Field(0.5, gt=0, lt=1, description="Side of the hidden square, as a share of the picture's side.")

    scale: ClassVar = 0.5

    @override
    def keep(self, side: int, rng: np.random.Generator) -> Float32[np.ndarray, "{side} {side}"]:
        hidden = round(self.share * side)
        top, left = rng.integers(0, side - hidden + 1, size=2)
        seen = np.ones((side, side), dtype=np.float32)
        seen[top : top + hidden, left : left + hidden] = 0
        return seen


class RandomInpainting(Degradation):
    """Hide single pixels, each on its own."""

    kind: Literal["random_inpainting"] = "random_inpainting"
    share: float = Field(0.7, gt=0, lt=1, description="Probability that a pixel is hidden.")

    scale: ClassVar = 0.5

    @override
    def keep(self, side: int, rng: np.random.Generator) -> Float32[np.ndarray, "{side} {side}"]:
        seen: Float32[np.ndarray, "h w"] = (rng.random((side, side)) >= self.share).astype(np.float32)
        return seen
