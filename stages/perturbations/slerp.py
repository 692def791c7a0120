"""A walk from one seed towards another."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from stages.arrays import Latent
from stages.perturbations.base import LatentPerturbation


class Slerp(LatentPerturbation):
    """Interpolate along the sphere towards another seed's latent: Shoemake 1985 (doi:10.1145/325334.325242).

    The other latent is the generator's next standard normal draw. Every latent on the way is as likely as its ends,
    which a straight line is not: halfway its norm falls by sqrt(2).
    """

    kind: Literal["slerp"] = "slerp"
    fraction: float = Field(ge=0, le=1, description="Share of the way to the other latent, 0 to 1; no unit.")

    mildest: ClassVar = {"fraction": 0.0}
    strength_field: ClassVar = "fraction"

    @override
    def perturb(self, x: Latent, rng: np.random.Generator) -> Latent:
        other = rng.standard_normal(x.shape, dtype=np.float32)
        start, end = x.astype(np.float64), other.astype(np.float64)
        cosine = np.sum(start * end) / (np.linalg.norm(start) * np.linalg.norm(end))
        omega = np.arccos(np.clip(cosine, -1, 1))
        if not np.sin(omega) > 1e-6:
            raise ValueError(
                f"slerp expects another latent that is not parallel to its own, but found a cosine of {cosine:.6f}: "
                "draw it from a generator of another purpose"
            )
        near, far = np.sin((1 - self.fraction) * omega), np.sin(self.fraction * omega)
        out: Latent = ((near * start + far * end) / np.sin(omega)).astype(np.float32)
        return out
