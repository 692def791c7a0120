"""Persistence: how likely a failure is to outlast a perturbation that leaves N(0, I) as it is."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jaxtyping import Bool
from pydantic import Field

from stages.arrays import Latent
from stages.base import Spec
from stages.metrics import Estimate, Proportion
from stages.metrics.clustered import clustered_proportion
from tuning.sage.region.radius import Fails
from tuning.sage.region.subset_simulation import perturbed


class PersistenceSpec(Spec):
    """Which failures are perturbed, how much and how often."""

    failures: int = Field(3, ge=0, description="Failures that are perturbed.")
    strengths: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        (0.1, 0.2, 0.4, 0.7),
        min_length=1,
        description="b of sqrt(1 - b^2) z + b xi, 0 to 1: 0 leaves z, 1 is a plain draw.",
    )
    draws: int = Field(6, ge=1, description="xi of each failure, the same at every strength.")

    @property
    def pictures(self) -> int:
        """The pictures that this takes."""
        return self.failures * len(self.strengths) * self.draws


@dataclass(frozen=True, eq=False)
class Persistence:
    """Which perturbed latents still fail: of each failure and strength, every draw."""

    strengths: tuple[float, ...]
    fails: Bool[np.ndarray, "f s d"]

    def of(self, failure: int) -> list[Estimate]:
        """Return the share that still fails at each strength, of one failure, with Wilson's interval."""
        return [Proportion().of(draws) for draws in self.fails[failure]]

    def curve(self) -> list[Estimate]:
        """Return the share at each strength over all failures, whose draws move together."""
        failures, _, draws = self.fails.shape
        clusters = np.repeat(np.arange(failures), draws)
        return [clustered_proportion(self.fails[:, at].ravel(), clusters) for at in range(len(self.strengths))]


def outlasts(
    fails: Fails, latent: Latent, spec: PersistenceSpec, random: np.random.Generator
) -> Bool[np.ndarray, "s d"]:
    """Return whether a failure still fails at each strength, under each draw."""
    noise = random.standard_normal((spec.draws, *latent.shape), dtype=np.float32)
    rows = [perturbed(latent, b, noise) for b in spec.strengths]
    return fails(np.concatenate(rows)).reshape(len(rows), spec.draws)
