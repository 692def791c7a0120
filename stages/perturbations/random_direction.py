"""The control of every shift: the same distance in no particular direction."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from stages.arrays import Latent
from stages.perturbations.base import LatentPerturbation


class RandomDirection(LatentPerturbation):
    """Move by a fixed distance in a random direction: as far, in L2 norm, as a uniform mean shift of the same size.

    `gaussian` draws the direction uniformly from the sphere; `sign` moves every entry by the same amount, up or down at
    random, so that it matches the mean shift in every norm.
    """

    kind: Literal["random_direction"] = "random_direction"
    rms: float = Field(
        ge=0, le=10, description="Root mean square change of an entry, in standard deviations of an entry, 0 to 10."
    )
    draw: Literal["gaussian", "sign"] = Field(
        "gaussian", description="Uniform on the sphere, or a random sign per entry."
    )

    mildest: ClassVar = {"rms": 0.0}
    strength_field: ClassVar = "rms"

    @override
    def perturb(self, x: Latent, rng: np.random.Generator) -> Latent:
        direction = rng.standard_normal(x.shape)
        if self.draw == "sign":
            direction = np.where(direction < 0, -1.0, 1.0)
        step = self.rms * direction / np.sqrt(np.mean(direction**2))
        out: Latent = (x + step).astype(np.float32)
        return out
