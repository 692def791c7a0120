"""The mathematics of latent consistency models: Luo et al. 2023 (arXiv:2310.04378), after Song et al. 2023."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tuning.training.diffusion.attack import noised

Batch: TypeAlias = Float[Tensor, "b c h w"]
Rows: TypeAlias = Float[Tensor, " b"]
Times: TypeAlias = Int64[Tensor, " b"]
Noise: TypeAlias = Callable[[Batch, Times], Batch]
"""Noisy latents and their time steps -> the noise in them."""

SIGMA_DATA, TIME_SCALE = 0.5, 10.0
"""Of the boundary condition; diffusers' `LCMScheduler` has the same."""


class Solver(NamedTuple):
    """DDIM in steps of `skip` training steps, the last of them down to the first training step's noise level."""

    signal: Float[Tensor, " t"]
    """alpha-bar by training step."""
    skip: int

    @property
    def starts(self) -> Int64[Tensor, " n"]:
        """The training steps that it starts from, upwards."""
        return torch.arange(self.skip, len(self.signal) + 1, self.skip) - 1

    def after(self, time: Times) -> Times:
        """Return where a step from `time` ends; the last one ends at training step 0."""
        return (time - self.skip).clamp(min=0)

    def clean(self, x: Batch, noise: Batch, time: Times) -> Batch:
        """Return the clean latents that noisy ones and the noise in them imply."""
        signal = self.at(time)
        return (x - (1 - signal).sqrt() * noise) / signal.sqrt()

    def noised(self, clean: Batch, noise: Batch, time: Times) -> Batch:
        """Return x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps."""
        return noised(clean, noise, self.at(time))

    def step(self, x: Batch, noise: Batch, time: Times) -> Batch:
        """Return one DDIM step of eta 0: Song et al. 2021 (arXiv:2010.02502), Eq. 12."""
        return self.noised(self.clean(x, noise, time), noise, self.after(time))

    def at(self, time: Times) -> Float[Tensor, "b 1 1 1"]:
        """Return alpha-bar of each row."""
        return self.signal.to(time.device)[time][:, None, None, None]


def consistent(noise: Noise, x: Batch, time: Times, solver: Solver) -> Batch:
    """Return f(x, t) = c_skip(t) x + c_out(t) x_0: Eq. 5, with x_0 from the predicted noise; f(x, 0) = x."""
    skip, out = boundary(time)
    return skip * x + out * solver.clean(x, noise(x, time), time)


def boundary(time: Times) -> tuple[Float[Tensor, "b 1 1 1"], Float[Tensor, "b 1 1 1"]]:
    """Return c_skip and c_out: Song et al. 2023 (arXiv:2303.01469), appendix C, with time steps scaled as LCM does."""
    scaled = TIME_SCALE * time.float()[:, None, None, None]
    length = scaled**2 + SIGMA_DATA**2
    return SIGMA_DATA**2 / length, scaled / length.sqrt()


def guided(told: Batch, untold: Batch, guidance: Rows) -> Batch:
    """Return unconditional + s (conditional - unconditional); LCM's omega is s - 1."""
    return untold + guidance[:, None, None, None] * (told - untold)


def distance(a: Batch, b: Batch, huber: float) -> Rows:
    """Return each row's mean pseudo-Huber distance sqrt((a - b)^2 + c^2) - c."""
    return (((a - b) ** 2 + huber**2).sqrt() - huber).flatten(1).mean(1)
