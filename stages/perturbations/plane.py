"""A plane through three seeds."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from stages.arrays import Latent
from stages.perturbations.base import LatentPerturbation


class Plane(LatentPerturbation):
    """A point of the plane through this seed's latent and two others: a map of which noise becomes which picture.

    Zhang et al. 2024 (arXiv:2310.05264): eps(a, b) = a (eps2 - eps1) + b (eps3 - eps1) + eps1. The other two latents
    are the generator's next standard normal draws. Only at the three seeds is the variance that of a seed: it is
    (1 - a - b)^2 + a^2 + b^2, so 1/3 in their middle.
    """

    kind: Literal["plane"] = "plane"
    a: float = Field(ge=-100, le=100, description="Share of the way to the second latent; no unit.")
    b: float = Field(0.0, ge=-100, le=100, description="Share of the way to the third latent; no unit.")

    mildest: ClassVar = {"a": 0.0, "b": 0.0}
    strength_field: ClassVar = "a"

    @override
    def perturb(self, x: Latent, rng: np.random.Generator) -> Latent:
        second, third = (rng.standard_normal(x.shape, dtype=np.float32) for _ in range(2))
        out: Latent = np.float32(self.a) * (second - x) + np.float32(self.b) * (third - x) + x
        return out
