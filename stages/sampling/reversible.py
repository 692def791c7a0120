"""Walk: the steps of a deterministic sampler as pure functions, and the gradient of many of them in bounded memory."""

import copy
import math
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from typing_extensions import override

from stages.sampling.ddim import Ddim
from stages.sampling.loop import Prediction, Schedule
from stages.tensors import Latents

Kept: TypeAlias = list[tuple[int, Latents]]
"""States that are held, each with the number of steps before it; the earliest first."""


class Walk:
    """The steps of one batch, each a function of the state before it alone, so that any may be taken again.

    `schedule` must be one whose steps remember nothing and draw nothing: DDIM with eta = 0, of diffusers or of ours.
    """

    def __init__(self, schedule: Schedule, predict: Prediction) -> None:
        self.schedule, self.predict = schedule, predict

    def __len__(self) -> int:
        return len(self.schedule.timesteps)

    def start(self, latents: Latents) -> Latents:
        """Return the first state of unit-variance latents [b c h w]."""
        return self.schedule.start(latents)

    def step(self, number: int, x: Latents) -> Latents:
        """Return the state [b c h w] after step `number`, counted from 0, of the state `x` [b c h w] before it."""
        at, t = self.schedule, self.schedule.timesteps[number]
        if isinstance(at, Ddim):  # it counts its calls; a copy that is told the number keeps the step pure
            at = copy.copy(at)
            at.calls = number
        return at.step(self.predict(at.scale(x, t), t), t, x, ())

    def run(self, x: Latents, first: int, last: int) -> Latents:
        """Return the state before step `last` [b c h w], of the state `x` [b c h w] before step `first`."""
        for number in range(first, last):
            x = self.step(number, x)
        return x


def reversed_walk(walk: Walk, x: Latents, slots: int) -> Latents:
    """Return the last state [b c h w] of the walk from the first state `x`; its gradient holds few of the others.

    The gradient is that of every step, exact up to rounding: states are taken again, never approximated by inverting
    the sampler. Which are held is decided by binomial checkpointing, Griewank & Walther 2000 (ACM TOMS 26, Algorithm
    799, "revolve"), so that memory is twice `slots` states at most and the activations of one step, however many the
    steps, and the price is `recomputed(steps, slots)` more of them. It reaches `x` only, not what the walk's network is
    conditioned on, and cannot be differentiated twice. Raises ValueError for fewer than one slot.
    """
    if slots < 1:
        raise ValueError(f"reversed_walk: expected at least 1 slot, found {slots}")
    found: Tensor = _Reversal.apply(x, walk, slots)
    return found


def recomputed(steps: int, slots: int) -> int:
    """Return the steps that the gradient takes again, beside the first walk and the one of each step's own gradient.

    Griewank & Walther 2000: the least possible is r n - C(s + r, r - 1) for n steps, s slots and r sweeps in all, of
    which the first is the walk itself.
    """
    sweeps = _sweeps(steps, slots)
    return sweeps * steps - math.comb(slots + sweeps, sweeps - 1) - (steps - 1) if sweeps else 0


def stride(steps: int, slots: int) -> int:
    """Return how many of `steps` steps to take before a state is held, with `slots` of them, the first one's included.

    From 1 to steps - 1. Any choice with which the rest fits into as many sweeps is optimal (Griewank & Walther 2000);
    this is the longest.
    """
    if slots == 1:
        return steps - 1
    sweeps = _sweeps(steps, slots)
    return min(math.comb(slots + sweeps - 1, slots), steps - math.comb(slots + sweeps - 2, slots - 1))


def _sweeps(steps: int, slots: int) -> int:
    sweeps = 0
    while math.comb(slots + sweeps, slots) < steps:
        sweeps += 1
    return sweeps


def _advance(walk: Walk, kept: Kept, end: int, slots: int) -> Latents:
    """Return the state before step `end` - 1, from the last one that is kept; keep others on the way."""
    number, x = kept[-1]
    while number < end - 1:
        free = slots - len(kept)
        length = stride(end - number, free + 1)
        x = walk.run(x, number, number + length)
        number += length
        if free and number < end - 1:
            kept.append((number, x))
    return x


class _Reversal(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, x: Tensor, walk: Walk, slots: int) -> Tensor:
        kept: Kept = [(0, x)]
        before = _advance(walk, kept, len(walk), slots)
        if len(walk) > 1:
            kept.append((len(walk) - 1, before))
        ctx.walk, ctx.slots, ctx.numbers = walk, slots, [number for number, _ in kept]
        ctx.save_for_backward(*(state for _, state in kept))
        return walk.step(len(walk) - 1, before)

    @staticmethod
    @override
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        kept: Kept = list(zip(ctx.numbers, ctx.saved_tensors, strict=True))
        for number in reversed(range(len(ctx.walk))):
            while kept[-1][0] > number:
                kept.pop()
            x = _advance(ctx.walk, kept, number + 1, ctx.slots).detach().requires_grad_()
            with torch.enable_grad():
                after = ctx.walk.step(number, x)
            (gradient,) = torch.autograd.grad(after, x, gradient)
        return gradient, None, None
