"""Training of pixel-space models with the preconditioning of EDM: Karras et al. 2022 (arXiv:2206.00364).

The network's raw output F is what diffusers' EDM schedulers call an epsilon prediction: they apply c_skip and c_out.
"""

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from diffusers import DDPMPipeline, EDMEulerScheduler
from jaxtyping import Float, Int64
from torch import Tensor, nn

from stages.models.unconditional import CLASS_NAMES
from stages.randomness import rng
from tuning.training.pictures import Pictures
from tuning.training.settings import EdmSpec
from tuning.training.zoo.loop import Recipe, generator

SIGMA_DATA = 0.5
Batch: TypeAlias = Float[Tensor, "b c h w"]
Labels: TypeAlias = Int64[Tensor, " b"]
Network: TypeAlias = Callable[[Batch, Tensor, Labels], Batch]
"""Scaled noisy pictures, noise level c_noise and class of each row -> the raw output F."""


class EdmRecipe(Recipe[EdmSpec, nn.Module]):
    """Denoising at random noise levels: Eq. 8 with the settings of Tab. 1, column "Ours"."""

    def __init__(self, spec: EdmSpec, device: str = "cpu", pictures: Pictures | None = None) -> None:
        self.spec, self.device = spec, device
        self.pictures = pictures or spec.data.load()
        self.clean = as_batch(self.pictures)
        self.order = lru_cache(maxsize=4)(self._order)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.budget.seed)
            module = spec.network.build(self.clean.shape[-1], len(self.pictures.classes))
        self.module = module.to(device).train()

    def loss(self, step: int) -> Tensor:
        """Return the loss of one step."""
        random = generator(self.spec.budget.seed, "edm", step)
        rows = self.rows(step)
        clean = self.clean[rows]
        level = torch.randn(len(rows), generator=random)
        sigma = (self.spec.log_sigma_mean + self.spec.log_sigma_std * level).exp()
        noisy = clean + sigma[:, None, None, None] * torch.randn(clean.shape, generator=random)
        label = self._labels(rows, random)
        clean, noisy, sigma, label = (part.to(self.device) for part in (clean, noisy, sigma, label))
        return (weight(sigma) * (self._denoised(noisy, sigma, label, random) - clean) ** 2).mean()

    def rows(self, step: int) -> Int64[Tensor, " b"]:
        """Return the step's pictures: every epoch goes through all of them, in an order of its own."""
        batch, count = self.spec.budget.batch, len(self.clean)
        place = step * batch + np.arange(batch)
        rows = [self.order(int(epoch))[place[place // count == epoch] % count] for epoch in np.unique(place // count)]
        return torch.from_numpy(np.concatenate(rows))

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write a folder in the format of diffusers' `DDPMPipeline`, the names of the classes beside it."""
        DDPMPipeline(unet=module, scheduler=EDMEulerScheduler(sigma_data=SIGMA_DATA)).save_pretrained(folder)
        if self.pictures.classes:
            (folder / CLASS_NAMES).write_text(json.dumps(self.pictures.classes) + "\n")

    def _denoised(self, noisy: Batch, sigma: Tensor, label: Labels, random: torch.Generator) -> Batch:
        """Return the clean pictures that the network expects; dropout draws from the step's own seed too."""
        seed = int(torch.randint(2**63 - 1, (), generator=random))
        with (
            torch.random.fork_rng(devices=[] if self.device == "cpu" else [self.device]),
            torch.autocast(self.device.partition(":")[0], torch.bfloat16, enabled=self.spec.precision == "bfloat16"),
        ):
            torch.manual_seed(seed)
            return precondition(as_function(self.module), label)(noisy, sigma)

    def _order(self, epoch: int) -> Int64[np.ndarray, " n"]:
        return rng(self.spec.budget.seed, "order", epoch).permutation(len(self.clean))

    def _labels(self, rows: Int64[Tensor, " b"], random: torch.Generator) -> Labels:
        """Return the classes, some replaced by the null class, which is the last."""
        null = torch.rand(len(rows), generator=random) < self.spec.null_share
        return torch.where(null, len(self.pictures.classes), torch.from_numpy(self.pictures.labels)[rows])


def precondition(network: Network, label: Labels) -> Callable[[Batch, Tensor], Batch]:
    """Return the denoiser D around the raw network F: Eq. 7 with the scalings of Tab. 1; one sigma a row."""

    def denoise(x: Batch, sigma: Tensor) -> Batch:
        s = sigma.view(-1, 1, 1, 1)
        size = (s**2 + SIGMA_DATA**2).sqrt()
        skip, out, into = SIGMA_DATA**2 / size**2, s * SIGMA_DATA / size, 1 / size
        return skip * x + out * network(into * x, sigma.log() / 4, label).float()

    return denoise


def weight(sigma: Tensor) -> Float[Tensor, "b 1 1 1"]:
    """Return lambda(sigma), the weight of the squared error: the loss is then that of F at unit weight."""
    return ((sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2).view(-1, 1, 1, 1)


def as_function(module: nn.Module) -> Network:
    """Return a module of diffusers as a function; one without classes takes no notice of them."""
    blind = getattr(module, "class_embedding", ...) is None

    def network(x: Batch, noise_level: Tensor, label: Labels) -> Batch:
        output: Tensor = module(x, noise_level, class_labels=None if blind else label).sample
        return output

    return network


def as_batch(pictures: Pictures) -> Batch:
    """Return the pictures in [-1, 1], channels first."""
    return torch.from_numpy(pictures.images).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()
