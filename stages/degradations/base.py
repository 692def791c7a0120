"""Degradation: a linear loss of detail, described by numbers. Imports no heavy library."""

from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Float64

from stages.base import Spec


class Degradation(Spec):
    """A linear map A of square pictures: what `keep` leaves of the pixels, then `axis` down the rows and the columns.

    Channels are treated alike. A part that a row chooses (a mask) comes from the row's own generator.
    """

    scale: ClassVar[float]
    """Step size of diffusion posterior sampling, for the gradient of the norm."""

    def axis(self, side: int) -> Float64[np.ndarray, "m {side}"]:
        """Return the matrix along each axis of a picture."""
        return np.eye(side)

    def keep(self, side: int, rng: np.random.Generator) -> Float32[np.ndarray, "{side} {side}"]:  # noqa: ARG002
        """Return 1 where a pixel is seen and 0 where it is not."""
        return np.ones((side, side), dtype=np.float32)
