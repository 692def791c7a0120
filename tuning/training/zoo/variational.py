"""The variational bound of one step, which teaches a network its variance: Nichol & Dhariwal 2021 (arXiv:2102.09672).

Section 3.1. With T training steps, one of which is drawn for each picture, lambda L_vlb is lambda T times the term of
the drawn step: weight 1 at lambda = 0.001 and T = 1,000. Terms are in bits per number, as in the paper's code.
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.special import ndtr

from stages.sampling.variance import Bounds, bounds, log_variance

Batch = Float[Tensor, "b c h w"]
Rows = Float[Tensor, " b"]
HALF_BIN = 1 / 255
"""Half the distance between two of the 256 values of a pixel in [-1, 1]."""


class VariationalBound:
    """The terms of the bound for a noise schedule, alpha-bar by training step.

    At the first step, where the picture itself is the target, its likelihood counts: that of the pixel's bin where
    pictures have 256 values (`discrete`), else the density, whose bits may be negative.
    """

    def __init__(self, signal: Float[Tensor, " t"], *, discrete: bool) -> None:
        signal = signal.double()
        alpha = signal / torch.cat([signal.new_ones(1), signal[:-1]])
        self.bounds, self.discrete = bounds(signal), discrete
        self.reach = (1 - alpha) / ((1 - signal) * alpha).sqrt()
        """How far apart two means are for each unit that two predictions of the noise are: Eq. 13 on epsilon."""

    def bits(self, predicted: Batch, v: Batch, noise: Batch, clean: Batch, time: Int64[Tensor, " b"]) -> Rows:
        """Return the term of each picture's step. The predicted noise is taken as given: only v learns from it."""
        reach, small, large = (_by_row(values, time, v) for values in (self.reach, *self.bounds))
        log = log_variance(v, Bounds(small, large))
        gap = reach * (
            noise - predicted.detach()
        )  # of the model's mean over the posterior's; over the picture at step 0
        divergence = (log - small + (small - log).exp() + gap**2 * (-log).exp() - 1) / 2
        surprise = _bin_surprise(clean, gap, log) if self.discrete else _surprise(gap, log)
        first = (time == 0)[:, None, None, None]
        return torch.where(first, surprise, divergence).flatten(1).mean(1) / math.log(2)


def _by_row(values: Float[Tensor, " t"], time: Int64[Tensor, " b"], like: Batch) -> Float[Tensor, "b 1 1 1"]:
    return values.to(like.device)[time].to(like.dtype)[:, None, None, None]


def _surprise(gap: Batch, log: Batch) -> Batch:
    """Return -log density of a number that lies `gap` below the mean, in nats."""
    return (math.log(2 * math.pi) + log + gap**2 * (-log).exp()) / 2


def _bin_surprise(clean: Batch, gap: Batch, log: Batch) -> Batch:
    """Return -log probability of the bin of a pixel that lies `gap` below the mean; the outermost bins are open."""
    deviation = (log / 2).exp()
    above = torch.where(clean > 1 - HALF_BIN, 1.0, ndtr((HALF_BIN - gap) / deviation))
    below = torch.where(clean < HALF_BIN - 1, 0.0, ndtr((-HALF_BIN - gap) / deviation))
    return -(above - below).clamp(min=1e-12).log()
