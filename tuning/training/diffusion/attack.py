"""Adversarial perturbations of noisy pictures: "Better Adversarial Robustness" (arXiv:2502.17099), Eq. 14 and Alg. 1.

A perturbed point must still be mapped to its own clean picture. Errors are means over a picture's entries, where the
paper has sums: its Eq. 14 is ours times the number of entries.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from tuning.training.diffusion.perturbations import Adversarial

Batch: TypeAlias = Float[Tensor, "b c h w"]
Rows: TypeAlias = Float[Tensor, " b"]
Signal: TypeAlias = Float[Tensor, "b 1 1 1"]
"""Alpha-bar of each row."""

Denoiser: TypeAlias = Callable[[Batch], Batch]
"""Noisy pictures -> the noise that the model sees in them, at the rows' own times."""

Objective: TypeAlias = Callable[[Batch], Rows]
"""Perturbations -> what the attack raises."""


class Attacked(NamedTuple):
    """Where an attack ended, and what each picture's objective was before and after."""

    delta: Batch
    before: Rows
    after: Rows


def noised(clean: Batch, noise: Batch, signal: Signal) -> Batch:
    """Return x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps."""
    return signal.sqrt() * clean + (1 - signal).sqrt() * noise


def target(noise: Batch, delta: Batch, signal: Signal, gradient: Literal["full", "detached"]) -> Batch:
    """Return eps + delta / sqrt(1 - abar): the noise in the perturbed point, if the clean picture is still its own."""
    seen = delta if gradient == "full" else delta.detach()
    return noise + seen / (1 - signal).sqrt()


def objective(
    denoise: Denoiser, noisy: Batch, noise: Batch, signal: Signal, gradient: Literal["full", "detached"] = "full"
) -> Objective:
    """Return the error of Eq. 14 as a function of the perturbation; `gradient` changes its slope, not its value."""

    def error(delta: Batch) -> Rows:
        return squares(denoise(noisy + delta) - target(noise, delta, signal, gradient))

    return error


def clean_error(denoise: Denoiser, noisy: Batch, clean: Batch, signal: Signal) -> Objective:
    """Return abar / (1 - abar) times the squared error of the clean prediction: the same as Eq. 14, written in x_0."""

    def error(delta: Batch) -> Rows:
        state = noisy + delta
        predicted = (state - (1 - signal).sqrt() * denoise(state)) / signal.sqrt()
        return (signal / (1 - signal)).flatten() * squares(predicted - clean)

    return error


def attack(error: Objective, like: Batch, spec: Adversarial) -> Attacked:
    """Climb K - 1 steps from zero, the model held fixed; costs K - 1 gradients and two values."""
    delta = torch.zeros_like(like)
    for _ in range(spec.passes - 1):
        delta = ascend(delta, slope(error, delta), spec)
    with torch.no_grad():
        return Attacked(delta, error(torch.zeros_like(like)), error(delta))


def slope(error: Objective, delta: Batch) -> Batch:
    """Return the gradient of each row's objective; a row's gradient does not depend on the others."""
    delta = delta.detach().requires_grad_()
    with torch.enable_grad():
        (found,) = torch.autograd.grad(error(delta).sum(), delta)
    return found


def ascend(delta: Batch, gradient: Batch, spec: Adversarial) -> Batch:
    """Return the perturbation one step further up, put back where it left the bound; of each row by itself."""
    climbed = delta.detach() + spec.step * direction(gradient, spec.norm)
    return projected(climbed, spec.max_norm, spec.norm)


def direction(gradient: Batch, norm: Literal["l2", "linf"]) -> Batch:
    """Return the steepest direction of length 1; zero where there is no slope.

    The released code divides by at least 1e-8, a bound that depends on the batch's size; ours is the smallest number.
    """
    if norm == "linf":
        return gradient.sign()
    return gradient / size(gradient).clamp(min=torch.finfo(gradient.dtype).tiny).view(-1, 1, 1, 1)


def projected(delta: Batch, max_norm: float, norm: Literal["l2", "linf"]) -> Batch:
    """Return the nearest perturbation within the bound: on each entry (linf), or on their root mean square (l2)."""
    if norm == "linf":
        return delta.clamp(-max_norm, max_norm)
    bound = max_norm * delta[0].numel() ** 0.5
    return delta * (bound / size(delta).clamp(min=bound)).view(-1, 1, 1, 1)


def size(delta: Batch, norm: Literal["l2", "linf"] = "l2") -> Rows:
    """Return the norm of each row."""
    return torch.linalg.vector_norm(delta.flatten(1), ord=2 if norm == "l2" else torch.inf, dim=1)


def squares(x: Batch) -> Rows:
    """Return the mean square of each row's entries."""
    return (x**2).flatten(1).mean(1)
