"""The variational bound of the text-to-image models on renders that no model has seen, in bits per number."""

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stages.models.generator import Stepwise
from stages.models.loading import load_generator
from stages.models.schedules import learns_variance
from stages.models.spec import ModelSpec
from stages.models.zoo import Figure, world
from stages.sampling import SamplerSpec
from tuning.training.pictures import WorldPictures
from tuning.training.pixels import as_batch
from tuning.training.zoo.data import pictures
from tuning.training.zoo.loop import generator
from tuning.training.zoo.measure import mean
from tuning.training.zoo.variational import VariationalBound

RENDERS, SIDE = 96, 16
STRIDE = 20
"""The first so many training steps are taken one by one; of each so many after them the middle one stands for all."""

Clean = Float[Tensor, "b c h w"]
Rows = Float[Tensor, " b"]


class Bound(NamedTuple):
    """What a model's steps cost on each render, in bits per number."""

    bits: dict[str, Rows]
    """By the variance that the steps are taken with."""
    between: Rows | None
    """The share of learned variances that lie between their bounds; None where the network learned none."""


def bound_figures(folder: Path) -> tuple[Figure, ...]:
    """Measure the bound on held-out renders with a learned variance, where there is one, and with each fixed one."""
    model = cast("Stepwise", load_generator(ModelSpec(model=str(folder), device="cpu")))
    index = np.arange(world.HELD_OUT, world.HELD_OUT + RENDERS)
    steps = quadrature(model.pipe.scheduler.config.num_train_timesteps, STRIDE)
    found = bound(model, clean_of(model, index), world.captions(index), steps)
    figures = tuple(mean(f"bits per number, {name}", bits.tolist()) for name, bits in found.bits.items())
    if found.between is None:
        return figures
    return (*figures, mean("share of learned variances between their bounds", found.between.tolist()))


def quadrature(steps: int, stride: int) -> dict[int, float]:
    """Return the training steps to visit with their weights, which add up to `steps`."""
    exact = dict.fromkeys(range(min(stride, steps)), 1.0)
    starts = range(stride, steps, stride)
    lengths = [min(stride, steps - start) for start in starts]
    return exact | {start + length // 2: float(length) for start, length in zip(starts, lengths, strict=True)}


@torch.inference_mode()
def bound(model: Stepwise, clean: Clean, prompts: list[str], steps: dict[int, float]) -> Bound:
    """Return the bound of a model of epsilon: Ho et al. 2020 (arXiv:2006.11239), Eq. 5, over weighted steps.

    Its middle terms are one draw of the noise for each render and step.
    """
    signal, learns = model.pipe.scheduler.alphas_cumprod, learns_variance(model.pipe.scheduler)
    terms, condition = VariationalBound(signal, discrete=not latent(model)), model.condition(prompts, SamplerSpec())
    bits: dict[str, Rows] = defaultdict(lambda: prior(clean, float(signal[-1])))
    between = torch.zeros(len(clean))
    for step, weight in steps.items():
        noise = torch.randn(clean.shape, generator=generator(0, "bound", step))
        noisy = signal[step].sqrt() * clean + (1 - signal[step]).sqrt() * noise
        predicted, *v = model.predict(noisy, torch.tensor(step), condition).split(clean.shape[1], dim=1)
        for name, share in variances(clean, v if learns else []).items():
            time = torch.full([len(clean)], step)
            bits[name] = bits[name] + weight * terms.bits(predicted, share, noise, clean, time)
        if learns:
            between += weight / sum(steps.values()) * (v[0].abs() < 1).float().flatten(1).mean(1)
    return Bound(dict(bits), between if learns else None)


def variances(like: Clean, learned: Sequence[Clean]) -> dict[str, Clean]:
    """Return the v of each variance that steps may be taken with, -1 and 1 for the fixed ones."""
    fixed = {"smaller fixed variance": -1.0, "larger fixed variance": 1.0}
    named = {name: torch.full_like(like, v) for name, v in fixed.items()}
    return {"learned variance": learned[0]} | named if learned else named


def prior(clean: Clean, signal: float) -> Rows:
    """Return the divergence of the last state from white noise, where `signal` is the last alpha-bar."""
    divergence = (signal * clean**2 - signal - math.log(1 - signal)) / 2
    return divergence.flatten(1).mean(1) / math.log(2)


@torch.inference_mode()
def clean_of(model: Stepwise, index: np.ndarray) -> Clean:
    """Return what the model was trained to draw of each render: latents, or small pictures."""
    if not latent(model):
        return as_batch(WorldPictures(side_px=SIDE, first=int(index[0]), count=len(index)).load(np.arange(len(index))))
    encoded: Clean = model.pipe.vae.encode(pictures(index) * 2 - 1).latent_dist.mean
    return encoded


def latent(model: Stepwise) -> bool:
    """Return whether the model draws latents."""
    return hasattr(model.pipe, "vae")
