"""A random shift with its power in one band of spatial frequencies."""

from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Bool
from pydantic import Field
from typing_extensions import override

from stages.arrays import Latent
from stages.perturbations.base import LatentPerturbation


class FrequencyShift(LatentPerturbation):
    """Add a random field limited to the low or the high spatial frequencies, at a fixed distance in L2 norm.

    White noise is cut in the Fourier domain at a radius: `low` keeps up to the cutoff, `high` keeps the rest. Both
    leave the zero frequency, each channel's mean, to the mean shifts; so the three share out the spectrum.
    """

    kind: Literal["frequency_shift"] = "frequency_shift"
    band: Literal["low", "high"] = Field(description="Frequencies up to the cutoff without the mean, or beyond it.")
    rms: float = Field(
        ge=0, le=10, description="Root mean square change of an entry, in standard deviations of an entry, 0 to 10."
    )
    cutoff: float = Field(
        0.5, gt=0, le=1, description="Radius that parts the bands, as a share of Nyquist, above 0 to 1."
    )

    mildest: ClassVar = {"rms": 0.0}
    strength_field: ClassVar = "rms"

    @override
    def perturb(self, x: Latent, rng: np.random.Generator) -> Latent:
        _, height, width = x.shape
        passed = self.passes(height, width)
        if not passed.any():
            raise ValueError(
                f"frequency_shift expects a frequency in band '{self.band}' of a latent of shape {x.shape}, "
                f"but found none at cutoff={self.cutoff:g}"
            )
        field = np.fft.ifft2(np.fft.fft2(rng.standard_normal(x.shape)) * passed).real
        out: Latent = (x + self.rms * field / np.sqrt(np.mean(field**2))).astype(np.float32)
        return out

    def passes(self, height: int, width: int) -> Bool[np.ndarray, "{height} {width}"]:
        """Return which frequencies, in the order of `np.fft.fft2`, belong to the band."""
        radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)) / 0.5
        passed: np.ndarray = (radius > 0) & ((radius <= self.cutoff) == (self.band == "low"))
        return passed
