"""Shifts of the latent's mean: the same everywhere, random, or in one channel."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from stages.arrays import Latent
from stages.perturbations.base import LatentPerturbation


class UniformMeanShift(LatentPerturbation):
    """Add one constant to every entry, z + a_c: Brittle latent space (arXiv:2312.11473), "UMS"."""

    kind: Literal["uniform_mean_shift"] = "uniform_mean_shift"
    shift: float = Field(
        ge=-10, le=10, description="Added constant a_c, in standard deviations of an entry, -10 to 10."
    )

    mildest: ClassVar = {"shift": 0.0}
    strength_field: ClassVar = "shift"

    @override
    def perturb(self, x: Latent, rng: np.random.Generator) -> Latent:
        return x + np.float32(self.shift)


class UniformRandomMeanShift(LatentPerturbation):
    """Add uniform noise, z + a_u U[0, 1]: Brittle latent space (arXiv:2312.11473), "URMS".

    Per entry it adds a mean of a_u / 2 and a standard deviation of |a_u| / sqrt(12), so it compares with a uniform mean
    shift of half its scale. The paper leaves open whether U is drawn per entry or per image.
    """

    kind: Literal["uniform_random_mean_shift"] = "uniform_random_mean_shift"
    scale: float = Field(
        ge=-10, le=10, description="Factor a_u of U[0, 1], in standard deviations of an entry, -10 to 10."
    )
    per: Literal["entry", "image"] = Field("entry", description="Draw U for every entry, or once for the whole image.")

    mildest: ClassVar = {"scale": 0.0}
    strength_field: ClassVar = "scale"

    @override
    def perturb(self, x: Latent, rng: np.random.Generator) -> Latent:
        uniform = rng.random(x.shape if self.per == "entry" else (1, 1, 1), dtype=np.float32)
        out: Latent = x + np.float32(self.scale) * uniform
        return out


class ChannelShift(LatentPerturbation):
    """Add one constant to every entry of one channel: which channel carries the damage of a uniform mean shift."""

    kind: Literal["channel_shift"] = "channel_shift"
    channel: int = Field(
        ge=0, le=1023, description="Index of the shifted channel, 0 to the latent's channels less one."
    )
    shift: float = Field(ge=-10, le=10, description="Added constant, in standard deviations of an entry, -10 to 10.")

    mildest: ClassVar = {"shift": 0.0}
    strength_field: ClassVar = "shift"

    @override
    def perturb(self, x: Latent, rng: np.random.Generator) -> Latent:
        if self.channel >= len(x):
            raise ValueError(
                f"channel_shift expects a channel from 0 to {len(x) - 1} for a latent of shape {x.shape}, "
                f"but found channel={self.channel}"
            )
        out = x.copy()
        out[self.channel] += np.float32(self.shift)
        return out
