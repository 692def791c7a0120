"""The settings that the shipped models were trained with: `train` uses these and nothing else."""

from typing import Annotated, TypeAlias

from pydantic import Field

from tuning.training.settings import EdmSpec
from tuning.training.zoo.classifier import ClassifierSpec
from tuning.training.zoo.clip import ClipSpec
from tuning.training.zoo.descriptor import DescriptorRecipeSpec
from tuning.training.zoo.loop import LoopSpec
from tuning.training.zoo.pixel import TRANSFORMER, UNET
from tuning.training.zoo.text_to_image import TextToImageSpec
from tuning.training.zoo.upsampler import UpsamplerSpec
from tuning.training.zoo.vae import VaeSpec

AnyRecipeSpec: TypeAlias = Annotated[
    ClassifierSpec | ClipSpec | DescriptorRecipeSpec | EdmSpec | TextToImageSpec | UpsamplerSpec | VaeSpec,
    Field(discriminator="kind"),
]

SHARED = TextToImageSpec(
    channels=(16, 32, 64, 128),
    images=64_000,
    shared_steps=2600,
    loop=LoopSpec(
        steps=3600, batch=32, learning_rate=1.2e-3, warmup_steps=200, decay_steps=1000, average=0.998, seed=5
    ),
)
"""What all text-to-image models have in common; each names below what it differs in."""

LEARNED = {"variance": "learned_range"}
PIXELS = {"space": "pixel"}
GLIDES = {"schedule": "cosine"}


def differing(**factors: str) -> TextToImageSpec:
    """Return the shared settings but for `factors`."""
    return TextToImageSpec.model_validate(dict(SHARED) | factors)


def trunk(**factors: str) -> TextToImageSpec:
    """Return the first steps of all models of one space: a fixed variance, the rate not falling yet."""
    loop = SHARED.loop.model_copy(update={"steps": SHARED.shared_steps, "decay_steps": 1})
    return differing(**factors).model_copy(update={"shared_steps": 0, "loop": loop})


SETTINGS: dict[str, AnyRecipeSpec] = {
    "classifier": ClassifierSpec(
        architecture="test_resnet",
        loop=LoopSpec(steps=1800, batch=64, learning_rate=2e-3, decay_steps=600, seed=1),
    ),
    "vae": VaeSpec(
        loop=LoopSpec(
            steps=1800, batch=32, learning_rate=2e-3, warmup_steps=100, decay_steps=200, weight_decay=1e-4, seed=2
        ),
    ),
    "judge": ClassifierSpec(
        architecture="test_convnext2",
        loop=LoopSpec(steps=2400, batch=64, learning_rate=2e-3, decay_steps=900, seed=3),
    ),
    "clip": ClipSpec(
        loop=LoopSpec(steps=450, batch=96, learning_rate=1e-3, decay_steps=200, average=0.98, seed=4),
    ),
    "descriptor": DescriptorRecipeSpec(
        loop=LoopSpec(steps=850, batch=64, learning_rate=2e-3, decay_steps=500, average=0.99, seed=6),
    ),
    "latent-trunk": trunk(),
    "text-to-image": SHARED,
    "latent-learned": differing(**LEARNED),
    "pixel-trunk": trunk(**PIXELS),
    "pixel-fixed": differing(**PIXELS),
    "pixel-learned": differing(**PIXELS, **LEARNED),
    "glide-like": differing(**PIXELS, **LEARNED, **GLIDES),
    "upsampler": UpsamplerSpec(
        images=64_000,
        loop=LoopSpec(
            steps=1500, batch=16, learning_rate=1.2e-3, warmup_steps=200, decay_steps=600, average=0.998, seed=8
        ),
    ),
    "pixel-unet": UNET,
    "pixel-transformer": TRANSFORMER,
}
