"""Epsilon scaling: the predicted noise is made smaller, against exposure bias. Imports no heavy library."""

from pydantic import Field

from stages.base import Spec

UNSCALED = ("lcm", "flow_euler", "edm_euler", "edm_dpmpp")
"""Schedulers that never see the noise of a picture: a flow, EDM's own output, a consistency model's jump to the end."""


class EpsilonScaling(Spec):
    """Epsilon is divided by lambda(t) = slope t + scale: Ning et al. 2024 (arXiv:2308.15321), its linear schedule.

    There t counts the steps that are visited, 0 for the last and least noisy one, not the training steps: with their
    slope of 0.0025 at 20 steps lambda reaches 1.05. Scale 1 without a slope is the plain sampler, bit for bit.
    """

    scale: float = Field(1.0, gt=0, le=10, description="b: lambda at the last step; the paper has 1.002 to 1.03.")
    slope: float = Field(0.0, ge=0, le=1, description="k: how much lambda grows with every step before the last.")

    def factor(self, step: int) -> float:
        """Return lambda `step` steps before the last one."""
        return self.slope * step + self.scale
