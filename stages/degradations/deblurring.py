"""Deblurring: the picture is seen through a blur."""

from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float64
from pydantic import Field
from typing_extensions import override

from stages.degradations.base import Degradation


class GaussianDeblurring(Degradation):
    """Convolve with an isotropic Gaussian kernel, cut at four standard deviations.

    Beyond its border the picture goes on as its mirror image, the border's pixels repeated, so the map is its own
    adjoint.
    """

    kind: Literal["gaussian_deblurring"] = "gaussian_deblurring"
    sigma_px: float = Field(3.0, gt=0, description="Standard deviation, in pixels of the model's picture.")

    scale: ClassVar = 0.3

    @override
    def axis(self, side: int) -> Float64[np.ndarray, "m {side}"]:
        reach = int(np.ceil(4 * self.sigma_px))
        offsets = np.arange(-reach, reach + 1)
        kernel = np.exp(-0.5 * (offsets / self.sigma_px) ** 2)
        place = (np.arange(side)[:, None] + offsets) % (2 * side)
        mirrored = np.minimum(place, 2 * side - 1 - place)
        matrix = np.zeros((side, side))
        np.add.at(matrix, (np.arange(side)[:, None], mirrored), kernel / kernel.sum())
        return matrix
