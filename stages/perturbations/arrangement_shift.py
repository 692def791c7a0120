"""A change of order: the same values at other places."""

from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float32
from pydantic import Field
from typing_extensions import override

from stages.arrays import Latent
from stages.perturbations.base import LatentPerturbation


class ArrangementShift(LatentPerturbation):
    """Sort pixels in ascending order, from the top left: Brittle latent space (arXiv:2312.11473), "PAS".

    Mean, norm and histogram stay. The paper names a count (8 to 64), and neither the region nor the key: in a latent 64
    wide, 64 entries are its first row, and a block of side 64 is all of it. Hence `region` and `by`. A count of 1 is
    the identity too.
    """

    kind: Literal["arrangement_shift"] = "arrangement_shift"
    count: int = Field(
        ge=0, le=2**20, description="Pixels sorted ('first') or side of the square ('block'), latent pixels."
    )
    region: Literal["first", "block"] = Field(
        "first", description="First pixels in raster order, or the top-left square."
    )
    by: Literal["channel", "channel_mean"] = Field(
        "channel", description="Sort each channel alone, or move whole pixels in the order of their channel mean."
    )

    mildest: ClassVar = {"count": 0}
    strength_field: ClassVar = "count"

    @override
    def perturb(self, x: Latent, rng: np.random.Generator) -> Latent:
        _, height, width = x.shape
        most = height * width if self.region == "first" else min(height, width)
        if self.count > most:
            raise ValueError(
                f"arrangement_shift expects a count up to {most} for region '{self.region}' of a latent of shape "
                f"{x.shape}, but found count={self.count}"
            )
        out = x.copy()
        if self.region == "first":
            pixels = out.reshape(len(out), -1)[:, : self.count]
            pixels[:] = self.arrange(pixels)
        else:
            block = out[:, : self.count, : self.count]
            block[:] = self.arrange(block.reshape(len(out), -1)).reshape(block.shape)
        return out

    def arrange(self, pixels: Float32[np.ndarray, "c p"]) -> Float32[np.ndarray, "c p"]:
        """Return the pixels in ascending order of the key; ties keep their order."""
        if self.by == "channel":
            return np.sort(pixels, axis=1)
        return pixels[:, np.argsort(pixels.mean(axis=0), kind="stable")]
