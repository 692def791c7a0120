"""A move of the whole latent across the picture."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from stages.arrays import Latent
from stages.perturbations.base import LatentPerturbation


class SpatialRoll(LatentPerturbation):
    """Move every pixel down and to the right; what leaves one edge enters at the opposite one.

    The latent stays exactly as likely as it was: if the generator were translation equivariant, only the place of the
    object would change. A curve runs over the columns, at one number of rows.
    """

    kind: Literal["spatial_roll"] = "spatial_roll"
    rows_px: int = Field(0, ge=-1023, le=1023, description="Rows down, latent pixels, less than the latent's height.")
    columns_px: int = Field(
        ge=-1023, le=1023, description="Columns right, latent pixels, less than the latent's width."
    )

    mildest: ClassVar = {"rows_px": 0, "columns_px": 0}
    strength_field: ClassVar = "columns_px"

    @override
    def perturb(self, x: Latent, rng: np.random.Generator) -> Latent:
        _, height, width = x.shape
        if abs(self.rows_px) >= height or abs(self.columns_px) >= width:
            raise ValueError(
                f"spatial_roll expects fewer rows than {height} and fewer columns than {width} for a latent of shape "
                f"{x.shape}, but found rows_px={self.rows_px}, columns_px={self.columns_px}"
            )
        return np.roll(x, (self.rows_px, self.columns_px), axis=(1, 2))
