"""Heun's method over EDM's noise levels, behind the same protocol as the schedulers of diffusers."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from stages.sampling.loop import Noise
from stages.sampling.precondition import Coefficients
from stages.tensors import Latents, Time


class Heun:
    """Heun's second-order method: Karras et al. 2022 (arXiv:2206.00364), Alg. 1 with sigma(t) = t and s(t) = 1.

    Each step asks the network twice, at its two ends; the last, which ends at zero noise, once: 2 n - 1 calls. Good for
    one batch: it remembers.
    """

    def __init__(
        self, sigmas: list[float], precondition: Callable[[float], Coefficients], device: torch.device
    ) -> None:
        inner = [sigma for sigma in sigmas[1:-1] for _ in range(2)]
        self.levels = [precondition(sigma) for sigma in [sigmas[0], *inner]]
        self.ends = sigmas[1:]
        self.timesteps: Tensor = torch.tensor([c.sigma for c in self.levels], device=device).log() / 4  # c_noise
        self.calls = 0
        self.guessed: tuple[Latents, Latents, float] | None = None

    def start(self, latents: Latents) -> Latents:
        """Return unit-variance noise at the largest noise level."""
        return latents * self.levels[0].sigma

    def scale(self, x: Latents, t: Time) -> Latents:  # noqa: ARG002
        """Return the network's input for the state `x`."""
        return x / self.levels[self.calls].size

    def step(self, output: Latents, t: Time, x: Latents, noise: Noise) -> Latents:  # noqa: ARG002
        """Return Euler's guess at the other end of the step, or from that end the step itself."""
        now = self.levels[self.calls]
        slope = (x - (now.skip * x + now.out * output)) / now.sigma  # dx/dsigma, Eq. 3
        self.calls += 1
        if self.guessed is not None:
            before, first, length = self.guessed
            self.guessed = None
            return before + length * (first + slope) / 2
        length = self.ends[self.calls // 2] - now.sigma
        self.guessed = x, slope, length
        return x + length * slope

    def clean(self, seen: Latents, output: Latents, t: Time) -> Latents:  # noqa: ARG002
        """Return the clean latents that the network's answer to the last call means."""
        at = self.levels[self.calls - 1]
        return at.skip * at.size * seen + at.out * output

    def alpha_bar(self, number: int) -> float:
        """Return alpha-bar of the state after call `number`; -1: the start."""
        return self.growth(number) ** -2

    def growth(self, number: int) -> float:
        """Return how much larger the state after call `number` is than the variance-preserving one; -1: the start."""
        return math.hypot(1.0, self.levels[0].sigma if number < 0 else self.ends[number // 2])
