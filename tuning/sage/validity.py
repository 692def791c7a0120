"""Validity: whether a found latent could have been drawn from N(0, I), and the projection that keeps one likely."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from pydantic import Field

from stages.arrays import Latent
from stages.base import Spec
from stages.metrics import Estimate, Proportion
from stages.perturbations.unlikeliness import unlikeliness


class LatentTests(NamedTuple):
    """What the tests of one latent measure; all NaN where an entry is not finite."""

    norm_z: float
    """z-score of the squared norm, with its sign."""
    mean_z: float
    """Largest |z-score| of a channel's mean."""
    ks_p: float
    """p-value of the Kolmogorov-Smirnov test of all entries against N(0, 1), 0 to 1."""
    autocorrelation_z: float
    """Largest |z-score| of the autocorrelation between neighbours below and beside; 0 where there are none."""
    entry: float
    """Largest |entry|."""


class Validity(Spec):
    """How unlikely under N(0, I) a latent may be. SAGE gives no thresholds; these are ours.

    A plain seed fails some test now and then: the Kolmogorov-Smirnov test rejects 5 % of them by design, and the
    largest entry 0.2 % of those of 256 numbers and 11 % of those of 16384. So a rate of rejection means something only
    beside that of plain seeds.
    """

    norm_z: float = Field(3.0, gt=0, description="Largest |z-score| of the squared norm.")
    mean_z: float = Field(3.0, gt=0, description="Largest |z-score| of a channel's mean.")
    ks_p: float = Field(0.05, ge=0, lt=1, description="p-value that the Kolmogorov-Smirnov test must exceed, 0 to 1.")
    autocorrelation_z: float = Field(3.0, gt=0, description="Largest |z-score| of the lag-1 spatial autocorrelation.")
    entry: float = Field(4.5, gt=0, description="Largest |entry|.")

    def accepts(self, x: Latent) -> bool:
        """Return whether `x` [c h w] passes every test; an entry that is not finite fails them."""
        found = latent_tests(x)
        return (
            abs(found.norm_z) <= self.norm_z
            and found.mean_z <= self.mean_z
            and found.ks_p > self.ks_p
            and found.autocorrelation_z <= self.autocorrelation_z
            and found.entry <= self.entry
        )


def latent_tests(x: Latent) -> LatentTests:
    """Return what the tests measure on `x` [c h w], float32."""
    known = unlikeliness(x)
    if math.isnan(known.norm_z):
        return LatentTests(math.nan, math.nan, math.nan, math.nan, math.nan)
    entries = x.astype(np.float64)
    pairs = [(entries[:, 1:], entries[:, :-1]), (entries[:, :, 1:], entries[:, :, :-1])]
    neighbours = max((_autocorrelation_z(a, b, entries) for a, b in pairs if a.size), default=0.0)
    return LatentTests(known.norm_z, known.mean_z, known.ks_p, neighbours, float(np.abs(entries).max()))


def _autocorrelation_z(a: np.ndarray, b: np.ndarray, entries: np.ndarray) -> float:
    """Return |r| sqrt(pairs): of independent entries r has mean 0 and standard deviation 1 / sqrt(pairs)."""
    power = float(np.mean(entries**2))
    return abs(float(np.mean(a * b)) / power) * math.sqrt(a.size) if power else 0.0


def project(x: Latent, start: Latent) -> Latent:
    """Return `x` [c h w], shifted and scaled to the mean and standard deviation of `start`, hence also to its norm.

    The nearest such latent. float32; `start` comes back as it is up to rounding. Raises ValueError for an `x` whose
    entries are all equal, which no scale helps.
    """
    moved, aim = x.astype(np.float64), start.astype(np.float64)
    if not (spread := float(moved.std())) > 0:
        raise ValueError(
            f"project: expected a latent of finite entries that differ, found standard deviation {spread:g}"
        )
    found: Latent = ((moved - moved.mean()) * (aim.std() / spread) + aim.mean()).astype(np.float32)
    return found


def non_gaussian_rate(latents: Iterable[Latent], validity: Validity) -> Estimate:
    """Return NGR, the share of latents that the tests reject, with Wilson's interval; NaN of no latents.

    Its control is the same rate of plain seeds.
    """
    rejected = [not validity.accepts(latent) for latent in latents]
    return Proportion().of(np.array(rejected, dtype=np.float64))
