"""The copy descriptor: Pizzi et al. 2022 (arXiv:2202.10261) at the size of the image world."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from stages.base import Spec
from stages.models.descriptors.gem import Gem, GemSpec, save_gem
from stages.models.zoo import world
from tuning.training.zoo.classifier import MEAN, STD, normalise
from tuning.training.zoo.data import pictures
from tuning.training.zoo.loop import LoopSpec, Recipe, generator
from tuning.training.zoo.views import ViewSpec, view

KINDS = len(world.CLASSES) * len(world.COLOURS)


class DescriptorRecipeSpec(Spec):
    """Two views of each picture are drawn together, and away from every other picture."""

    kind: Literal["descriptor"] = "descriptor"
    architecture: str = "test_resnet"
    dimension: int = Field(default=128, ge=2)
    images: int = Field(default=200_000, ge=1, description="Size of the training set: the first indices of the world.")
    alike: int = Field(default=4, ge=1, description="Pictures of the same object and colour in a batch.")
    temperature: float = Field(default=0.05, gt=0)
    entropy_weight: float = Field(default=10.0, ge=0, description="Weight of the term that spreads pictures.")
    view: ViewSpec = ViewSpec()
    loop: LoopSpec


class DescriptorRecipe(Recipe[DescriptorRecipeSpec, Gem]):
    """InfoNCE over two views, and an entropy term that spreads pictures over the sphere."""

    def __init__(self, spec: DescriptorRecipeSpec, classifier: Path | None = None, device: str = "cpu") -> None:
        self.spec, self.device = spec, device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.loop.seed)
            self.module = Gem(gem_spec(spec)).to(device).train()
        if classifier:
            trunk = {k: v for k, v in load_file(classifier / "model.safetensors").items() if not k.startswith("fc.")}
            self.module.trunk.load_state_dict(trunk)

    def loss(self, step: int) -> Tensor:
        """Return the loss of one step."""
        spec = self.spec
        x = pictures(batch(step, spec.loop.batch, spec.alike, spec.images))
        random = generator(spec.loop.seed, "view", step)
        both = torch.cat([view(x, spec.view, random) for _ in range(2)])
        similar = similarities(self.module(normalise(both).to(self.device)))
        return contrast(similar, spec.temperature) + spec.entropy_weight * crowding(similar)

    def save(self, module: Gem, folder: Path) -> None:
        """Write the folder that `stages.models.descriptors` loads."""
        save_gem(module, gem_spec(self.spec), folder)


def gem_spec(spec: DescriptorRecipeSpec) -> GemSpec:
    """Return the description of the network."""
    size = (3, world.PIXELS, world.PIXELS)
    return GemSpec(architecture=spec.architecture, dimension=spec.dimension, input_size=size, mean=MEAN, std=STD)


def batch(step: int, size: int, alike: int, images: int) -> Int64[np.ndarray, " b"]:
    """Return the step's indices: `alike` pictures of one object and colour, which differ by less, then the next."""
    group, member = np.divmod(np.arange(size) + step * size, alike)
    rounds, kind = np.divmod(group, KINDS)
    return (kind + KINDS * (rounds * alike + member)) % images


def similarities(z: Float[Tensor, "b d"]) -> Float[Tensor, "b b"]:
    """Return the cosines between all views; a view's with itself is minus one, so that it never counts."""
    return (z @ z.T).float() - 2 * torch.eye(len(z), device=z.device)


def contrast(similar: Float[Tensor, "b b"], temperature: float) -> Tensor:
    """Return InfoNCE: a view should find the other view of its picture among all views."""
    half = len(similar) // 2
    partner = torch.arange(len(similar), device=similar.device).roll(half)
    return functional.cross_entropy(similar / temperature, partner)


def crowding(similar: Float[Tensor, "b b"]) -> Tensor:
    """Return minus the mean logarithm of the distance to the nearest view of another picture.

    The entropy term of SSCD, after KoLeo: Sablayrolles et al. 2019 (arXiv:1806.03198).
    """
    half = len(similar) // 2
    own = torch.eye(len(similar), device=similar.device).roll(half, dims=0).bool()
    nearest = similar.masked_fill(own, -1).amax(dim=1)
    return -(2 - 2 * nearest).clamp(min=1e-6).sqrt().log().mean()
