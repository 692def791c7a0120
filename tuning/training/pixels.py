"""What trainings of pixel-space models share: network, order of pictures, classes, and the folder that they end in."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from diffusers import DDPMPipeline
from jaxtyping import Float, Int64
from torch import Tensor, nn

from stages.models.unconditional import CLASS_NAMES
from stages.randomness import rng
from tuning.training.group import ALONE, Group
from tuning.training.pictures import Pictures
from tuning.training.settings import PixelSpec
from tuning.training.zoo.loop import Recipe

Batch: TypeAlias = Float[Tensor, "b c h w"]
Labels: TypeAlias = Int64[Tensor, " b"]
Network: TypeAlias = Callable[[Batch, Tensor, Labels], Float[Tensor, "b outputs h w"]]
"""Pictures as the network sees them, the time or noise level of each row and its class -> the raw output."""

S = TypeVar("S", bound=PixelSpec)


class PixelRecipe(Recipe[S, nn.Module]):
    """A network of pixels, the pictures it is trained on, and their classes."""

    scheduler: Any
    """How the trained model is asked, in the class of diffusers."""

    def __init__(self, spec: S, device: str = "cpu", pictures: Pictures | None = None, group: Group = ALONE) -> None:
        self.spec, self.device, self.group = spec, device, group
        self.pictures = pictures or spec.data.load()
        self.clean = as_batch(self.pictures)
        self.order = lru_cache(maxsize=4)(self._order)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.budget.seed)
            module = spec.network.build(self.clean.shape[-1], len(self.pictures.classes))
        self.module = module.to(device).train()

    def rows(self, step: int) -> Int64[Tensor, " b"]:
        """Return the step's pictures: every epoch goes through all of them, in an order of its own."""
        batch, count = self.spec.budget.batch, len(self.clean)
        place = step * batch + np.arange(batch)
        rows = [self.order(int(epoch))[place[place // count == epoch] % count] for epoch in np.unique(place // count)]
        return torch.from_numpy(np.concatenate(rows))

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write a folder in the format of diffusers' `DDPMPipeline`, the names of the classes beside it."""
        DDPMPipeline(unet=module, scheduler=self.scheduler).save_pretrained(folder)
        if self.pictures.classes:
            (folder / CLASS_NAMES).write_text(json.dumps(self.pictures.classes) + "\n")

    @contextmanager
    def _seeded(self, seed: int) -> Iterator[None]:
        """Compute in the spec's precision, dropout drawing from this seed."""
        device = self.device.partition(":")[0]
        with (
            torch.random.fork_rng(devices=[] if self.device == "cpu" else [self.device]),
            torch.autocast(device, torch.bfloat16, enabled=self.spec.precision == "bfloat16"),
        ):
            torch.manual_seed(seed)
            yield

    def _order(self, epoch: int) -> Int64[np.ndarray, " n"]:
        return rng(self.spec.budget.seed, "order", epoch).permutation(len(self.clean))

    def _labels(self, rows: Int64[Tensor, " b"], random: torch.Generator) -> Labels:
        """Return the classes, some replaced by the null class, which is the last."""
        null = torch.rand(len(rows), generator=random) < self.spec.null_share
        return torch.where(null, len(self.pictures.classes), torch.from_numpy(self.pictures.labels)[rows])


def as_function(module: nn.Module) -> Network:
    """Return a module of diffusers as a function; one without classes takes no notice of them."""
    blind = getattr(module, "class_embedding", ...) is None

    def network(x: Batch, time: Tensor, label: Labels) -> Float[Tensor, "b outputs h w"]:
        output: Tensor = module(x, time, class_labels=None if blind else label).sample
        return output

    return network


def as_batch(pictures: Pictures) -> Batch:
    """Return the pictures in [-1, 1], channels first."""
    return torch.from_numpy(pictures.images).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()
