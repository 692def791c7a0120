"""The classifiers: those that answer, by pictures or by their edges, and judges that share no weights with anything."""

from pathlib import Path
from typing import Literal

import numpy as np
import timm
import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from stages.base import Spec
from stages.models.zoo import world
from tuning.sage.edges import Edges
from tuning.training.zoo.augment import AugmentSpec, augment
from tuning.training.zoo.data import Grammar, indices, pictures
from tuning.training.zoo.loop import LoopSpec, Recipe, generator
from tuning.training.zoo.style import StyleSpec, restyle

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


class ClassifierSpec(Spec):
    """A timm architecture trained from scratch on augmented renders."""

    kind: Literal["classifier"] = "classifier"
    architecture: str
    grammar: Grammar = "thing"
    images: int = Field(default=200_000, ge=1, description="Size of the training set: the first indices of the world.")
    colour_weight: float = Field(default=0.3, ge=0, description="Weight of the auxiliary loss on the colour.")
    smoothing: float = Field(default=0.05, ge=0, lt=1)
    augment: AugmentSpec = AugmentSpec()
    style: StyleSpec | None = Field(
        None, exclude_if=lambda value: value is None, description="Changes of style before the others; null: none."
    )
    ease_steps: int = Field(
        0,
        ge=0,
        exclude_if=lambda value: value == 0,
        description="First steps over which the share of changed pictures grows from none to all: without them, "
        "strong changes of small things teach nothing.",
    )
    edges: Edges | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="Edges that it sees in place of pictures, soft ones or Canny's by even chance; null: pictures.",
    )
    loop: LoopSpec


class Network(nn.Module):
    """A timm classifier of objects, with a second head for the colour that only training uses."""

    def __init__(self, architecture: str) -> None:
        super().__init__()
        self.model = timm.create_model(architecture, num_classes=len(world.CLASSES))
        self.colour = nn.Linear(self.model.num_features, len(world.COLOURS))

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b 12"], Float[Tensor, "b 8"]]:
        """Return the logits of object and colour."""
        pooled = self.model.forward_head(self.model.forward_features(x), pre_logits=True)
        return self.model.get_classifier()(pooled), self.colour(pooled)


class ClassifierRecipe(Recipe[ClassifierSpec, Network]):
    """Cross-entropy on object and colour."""

    def __init__(self, spec: ClassifierSpec, device: str = "cpu") -> None:
        self.spec, self.device = spec, device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.loop.seed)
            self.module = Network(spec.architecture).to(device).train()

    def loss(self, step: int) -> Tensor:
        """Return the loss of one step."""
        index = indices(step, self.spec.loop.batch, self.spec.images)
        objects, hues = self.module(normalise(self.seen(index, step)).to(self.device))
        label, colour = (torch.from_numpy(part(index)).to(self.device) for part in (world.labels, world.colours))
        smooth = self.spec.smoothing
        return functional.cross_entropy(objects, label, label_smoothing=smooth) + self.spec.colour_weight * (
            functional.cross_entropy(hues, colour, label_smoothing=smooth)
        )

    def seen(self, index: Int64[np.ndarray, " b"], step: int) -> Float[Tensor, "b 3 h w"]:
        """Return what the network is shown of each index, in [0, 1]."""
        spec, seed = self.spec, self.spec.loop.seed
        x = as_drawn = pictures(index, spec.grammar)
        if spec.style:
            x = restyle(x, spec.style, generator(seed, "style", step))
        x = augment(x, spec.augment, generator(seed, "augment", step))
        if step < spec.ease_steps:
            changed = torch.rand(len(x), 1, 1, 1, generator=generator(seed, "ease", step)) < step / spec.ease_steps
            x = torch.where(changed, x, as_drawn)
        return outlined(x, spec.edges, generator(seed, "edges", step)) if spec.edges else x

    def save(self, module: Network, folder: Path) -> None:
        """Write a folder that `timm.create_model("local-dir:...", pretrained=True)` loads."""
        model = module.model
        folder.mkdir(parents=True, exist_ok=True)
        size = (3, world.PIXELS, world.PIXELS)
        model.pretrained_cfg.update(
            input_size=size, test_input_size=size, mean=MEAN, std=STD, num_classes=len(world.CLASSES)
        )
        model.pretrained_cfg.update(interpolation="bicubic", crop_pct=1.0, test_crop_pct=1.0, license="apache-2.0")
        timm.models.save_for_hf(
            model, folder, model_config={"label_names": list(world.CLASSES)}, safe_serialization=True
        )


def outlined(x: Float[Tensor, "b 3 h w"], edges: Edges, random: torch.Generator) -> Float[Tensor, "b 3 h w"]:
    """Return edges in all three channels: soft ones, and Canny's of about half the pictures."""
    drawn = edges.soft(x)
    thin = torch.rand(len(x), generator=random) < 0.5
    if thin.any():
        drawn[thin] = edges.canny(x[thin])
    return drawn.expand_as(x)


def normalise(x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Return pictures in [0, 1] as the classifiers want them."""
    return (x - MEAN[0]) / STD[0]
