"""Inverse problems: the sampling loop, pulled towards a measurement."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stages.degradations.linear import LinearMap, Seen, Whole, linear_map
from stages.degradations.pictures import measured
from stages.randomness import rng
from stages.sampling.loop import Noise, Prediction, Schedule, sample
from stages.sampling.measurement import Measurement
from stages.sampling.precondition import Coefficients
from stages.tensors import Latents, Time


@runtime_checkable
class FollowedSchedule(Schedule, Protocol):
    """A schedule that says what its states mean."""

    def coefficients(self, t: Time) -> Coefficients:
        """Return how the network's answer at `t` becomes the clean prediction."""

    def growth(self, number: int) -> float:
        """Return how much larger the state after step `number` is than the variance-preserving one."""


@dataclass(frozen=True)
class Observation:
    """What a batch of rows has measured."""

    measurement: Measurement
    operator: LinearMap
    values: Seen
    pictures: Callable[[Latents], Whole]
    """From clean latents to pictures in [-1, 1]; differentiable."""

    def distance(self, clean: Latents) -> Float[Tensor, " b"]:
        """Return ||z - A x||, row by row."""
        return (self.values - self.operator(self.pictures(clean))).flatten(1).norm(dim=1)


def observe(measurement: Measurement, seeds: Sequence[int], side: int) -> tuple[LinearMap, Seen]:
    """Return A and z = A x + noise of a batch; picture, mask and noise come from each row's own seed."""
    operator = linear_map(measurement.operator, side, seeds)
    clean = operator(torch.from_numpy(np.stack([measured(measurement.picture, seed, side) for seed in seeds])))
    drawn = [rng(seed, "measurement").standard_normal(clean.shape[1:], dtype=np.float32) for seed in seeds]
    noise = measurement.noise * torch.from_numpy(np.stack(drawn))
    if operator.axis.shape[0] == operator.axis.shape[1]:
        noise = operator.keep * noise  # of a hidden pixel nothing is seen, noise neither
    return operator, clean + noise


def solve(
    schedule: FollowedSchedule, predict: Prediction, latents: Latents, noise: Noise, observation: Observation
) -> Latents:
    """Return the clean latents that fit the measurement: Chung et al. 2023 (arXiv:2209.14687), Alg. 1.

    Departs from it in the step from one state to the next, which is the scheduler's own and deterministic, and leaves
    the clean prediction unclipped. Costs the network's forward and backward pass at every step. Scale 0 is `sample`.
    """
    if observation.measurement.step_size == 0:
        return sample(schedule, predict, latents, noise)
    x = schedule.start(latents)
    for number, t in enumerate(schedule.timesteps):
        output, pull = _pull(schedule, predict, x, t, observation)
        x = schedule.step(output, t, x, noise) - schedule.growth(number) * pull
    return x


def _pull(
    schedule: FollowedSchedule, predict: Prediction, x: Latents, t: Time, observation: Observation
) -> tuple[Latents, Latents]:
    """Return the network's answer, and the step towards the measurement in the variance-preserving state."""
    seen = schedule.scale(x, t).detach().requires_grad_()
    at = schedule.coefficients(t)
    with torch.enable_grad():
        output = predict(seen, t)
        distance = observation.distance(at.skip * at.size * seen + at.out * output)
        (gradient,) = torch.autograd.grad(distance.sum(), seen)
    # the variance-preserving state is x / sqrt(1 + sigma^2), the network's input x / size
    gradient = gradient * (math.hypot(1.0, at.sigma) / at.size)
    measurement = observation.measurement
    steps = norm_scale(measurement.step_size, distance.detach(), measurement.gradient_of)
    return output.detach(), steps.view(-1, 1, 1, 1) * gradient


def norm_scale(
    scale: float, distance: Float[Tensor, " b"], gradient_of: Literal["norm", "squared_norm"]
) -> Float[Tensor, " b"]:
    """Return the scale for the gradient of the norm that steps as far as `scale` does for `gradient_of`.

    The gradient of the squared norm is twice the norm times the gradient of the norm.
    """
    return torch.full_like(distance, scale) if gradient_of == "norm" else 2 * scale * distance
