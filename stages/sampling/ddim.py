"""DDIM over any time steps, behind the same protocol as the schedulers of diffusers."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from stages.sampling.loop import Noise
from stages.sampling.precondition import Coefficients, variance_preserving
from stages.tensors import Latents, Time


class Ddim:
    """DDIM: Song et al. 2021 (arXiv:2010.02502), Eq. 12 and 16, between the noise levels of the steps it visits.

    diffusers' own takes every step to be `trained // steps` long, so that with uneven spacings its state and its
    network disagree about the noise level. Epsilon is derived again from the bounded clean prediction, as in GLIDE.
    `signal` is alpha-bar at each time step, and last where the trajectory ends. Good for one batch: it remembers.
    """

    def __init__(
        self,
        timesteps: Tensor,
        signal: Sequence[float],
        predicts: str,
        bound: Callable[[Latents], Latents],
        eta: float = 0.0,
    ) -> None:
        self.timesteps, self.signal, self.predicts = timesteps, list(signal), predicts
        self.level = dict(zip(timesteps.tolist(), self.signal, strict=False))
        self.bound, self.eta, self.calls = bound, eta, 0

    def start(self, latents: Latents) -> Latents:
        """Return unit-variance noise."""
        return latents

    def scale(self, x: Latents, t: Time) -> Latents:  # noqa: ARG002
        """Return the network's input for the state `x`: the state."""
        return x

    def step(self, output: Latents, t: Time, x: Latents, noise: Noise) -> Latents:
        """Return the next state; what it draws comes from `noise`, row by row."""
        now, after = self.signal[self.calls], self.signal[self.calls + 1]
        self.calls += 1
        clean = self.bound(self.clean(x, output, t))
        epsilon = (x - now**0.5 * clean) / (1 - now) ** 0.5
        deviation = self.eta * ((1 - after) / (1 - now) * (1 - now / after)) ** 0.5  # Eq. 16
        mean = after**0.5 * clean + max(1 - after - deviation**2, 0.0) ** 0.5 * epsilon  # Eq. 12
        if deviation == 0:
            return mean
        return mean + deviation * torch.stack([torch.randn(x.shape[1:], generator=one) for one in noise]).to(x)

    def clean(self, seen: Latents, output: Latents, t: Time) -> Latents:
        """Return the clean latents that the network's answer means, not bounded."""
        signal = self.level[t.item()]
        noise = (1 - signal) ** 0.5
        match self.predicts:
            case "epsilon":
                return (seen - noise * output) / signal**0.5
            case "v_prediction":
                return signal**0.5 * seen - noise * output
            case _:
                return output

    def coefficients(self, t: Time) -> Coefficients:
        """Return how the network's answer at `t` becomes the clean prediction."""
        signal = self.level[t.item()]
        return variance_preserving(((1 - signal) / signal) ** 0.5, self.predicts)

    def alpha_bar(self, number: int) -> float:
        """Return alpha-bar of the state after call `number`; -1: the start."""
        return self.signal[number + 1]

    def growth(self, number: int) -> float:  # noqa: ARG002
        """Return 1: the state is the variance-preserving one."""
        return 1.0
