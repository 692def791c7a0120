"""The seed latent as it was drawn."""

from typing import ClassVar, Literal

import numpy as np
from typing_extensions import override

from stages.arrays import Latent
from stages.perturbations.base import LatentPerturbation


class Control(LatentPerturbation):
    """No change: the row to which every perturbed row of the same prompt and seed is paired."""

    kind: Literal["none"] = "none"

    mildest: ClassVar = {}
    strength_field: ClassVar = None

    @override
    def perturb(self, x: Latent, rng: np.random.Generator) -> Latent:
        return x.copy()
