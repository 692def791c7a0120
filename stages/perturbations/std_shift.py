"""Shifts of the latent's standard deviation, alone and with its mean."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from stages.arrays import Latent
from stages.perturbations.base import LatentPerturbation


class StdShift(LatentPerturbation):
    """Scale every entry, (1 - a_s) z: Brittle latent space (arXiv:2312.11473), "SDS"; a positive a_s shrinks."""

    kind: Literal["std_shift"] = "std_shift"
    shrink: float = Field(ge=-10, le=1, description="Share a_s taken from the standard deviation, -10 to 1; no unit.")

    mildest: ClassVar = {"shrink": 0.0}
    strength_field: ClassVar = "shrink"

    @override
    def perturb(self, x: Latent, rng: np.random.Generator) -> Latent:
        return np.float32(1 - self.shrink) * x


class MixedShift(LatentPerturbation):
    """Scale, then add a constant, (1 - a_s) z + a_c: Brittle latent space (arXiv:2312.11473), "MS".

    A curve runs over the shift at one shrink; where the shrink is not zero, it does not pass through the control.
    """

    kind: Literal["mixed_shift"] = "mixed_shift"
    shift: float = Field(
        ge=-10, le=10, description="Added constant a_c, in standard deviations of an entry, -10 to 10."
    )
    shrink: float = Field(ge=-10, le=1, description="Share a_s taken from the standard deviation, -10 to 1; no unit.")

    mildest: ClassVar = {"shift": 0.0, "shrink": 0.0}
    strength_field: ClassVar = "shift"

    @override
    def perturb(self, x: Latent, rng: np.random.Generator) -> Latent:
        return np.float32(1 - self.shrink) * x + np.float32(self.shift)
