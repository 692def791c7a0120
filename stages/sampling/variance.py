"""Learned-range variance: a network answers (epsilon, v), and v says where between its two bounds the variance lies.

Nichol & Dhariwal 2021 (arXiv:2102.09672), section 3.1. The steps themselves are those of diffusers' `DDPMScheduler`.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from stages.tensors import Latents, Output


class Bounds(NamedTuple):
    """The natural logarithms of the two bounds, of one step or of many."""

    small: Tensor
    """Of the posterior variance beta-tilde: right if the data were one point."""
    large: Tensor
    """Of beta: right if the data were white noise."""


def bounds(signal: Float[Tensor, " t"]) -> Bounds:
    """Return the bounds of the steps whose alpha-bar is `signal`, all of them or those that a respacing keeps.

    The first beta-tilde is zero; it takes the value of the second, as in the paper's code.
    """
    before = torch.cat([signal.new_ones(1), signal[:-1]])
    beta = 1 - signal / before
    small = beta * (1 - before) / (1 - signal)
    small = torch.cat([small[1:2], small[1:]])
    return Bounds(small.log(), beta.log())


def log_variance(v: Latents, bounds: Bounds) -> Latents:
    """Return log Sigma, Eq. 15, where the network's v runs from -1 to 1 instead of 0 to 1.

    As in the paper nothing keeps v in that range; trained networks keep it there themselves.
    """
    share = (v + 1) / 2
    return share * bounds.large + (1 - share) * bounds.small


def guided_mean(without: Output, with_prompt: Output, scale: float, channels: int) -> Output:
    """Return the guided mean, and beside it the v of the conditional branch where the network has one.

    As GLIDE and DeepFloyd IF sample. Guiding v as well would push the variance out of its bounds.
    """
    mean, conditional = without[:, :channels], with_prompt[:, :channels]
    return torch.cat([mean + scale * (conditional - mean), with_prompt[:, channels:]], dim=1)


def check_outputs(model: str, channels: int, outputs: int, variance: str | None) -> None:
    """Refuse a network whose output is not what its scheduler expects; null: the scheduler knows no variance type."""
    learned = str(variance).startswith("learned")
    fitting = {channels * 2} if learned else {channels, channels * 2} if variance is None else {channels}
    if outputs not in fitting:
        raise ValueError(
            f"model: {model} with {channels} channels and the scheduler's variance_type={variance!r} must answer with "
            f"{' or '.join(map(str, sorted(fitting)))} channels, but answers with {outputs}; "
            "correct variance_type in scheduler_config.json, or take the scheduler that belongs to the weights"
        )
