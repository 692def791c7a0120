"""The settings that the shipped models were trained with: `train` uses these and nothing else."""

from typing import Annotated, TypeAlias

from pydantic import Field

from tuning.sage.edges import Edges
from tuning.training.consistency.settings import ConsistencySpec
from tuning.training.settings import EdmSpec
from tuning.training.zoo.augment import AugmentSpec
from tuning.training.zoo.classifier import ClassifierSpec
from tuning.training.zoo.clip import ClipSpec
from tuning.training.zoo.descriptor import DescriptorRecipeSpec
from tuning.training.zoo.language_model import LanguageModelSpec
from tuning.training.zoo.loop import LoopSpec
from tuning.training.zoo.pixel import TRANSFORMER, UNET
from tuning.training.zoo.style import StyleSpec
from tuning.training.zoo.text_to_image import TextToImageSpec
from tuning.training.zoo.upsampler import UpsamplerSpec
from tuning.training.zoo.vae import VaeSpec

AnyRecipeSpec: TypeAlias = Annotated[
    ClassifierSpec
    | ClipSpec
    | ConsistencySpec
    | DescriptorRecipeSpec
    | EdmSpec
    | LanguageModelSpec
    | TextToImageSpec
    | UpsamplerSpec
    | VaeSpec,
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


FAINT = AugmentSpec(cast=0.1, exposure=0.1, contrast=0.2, cloud=0.1, noise=0.03, blur_px=32, quality_steps=0.08)
"""Changes of pictures that leave most of their edges where they were."""

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
    "text-to-image-lcm": ConsistencySpec(
        loop=LoopSpec(
            steps=1500,
            batch=32,
            learning_rate=5e-4,
            decay_steps=500,
            weight_decay=0.0,
            average=0.99,
            checkpoint_steps=100,
            seed=21,
        ),
    ),
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
    "scenes-style": ClassifierSpec(
        architecture="test_resnet",
        grammar="scene",
        colour_weight=0.0,
        style=StyleSpec(),
        ease_steps=700,
        loop=LoopSpec(steps=1600, batch=64, learning_rate=2e-3, decay_steps=700, seed=11),
    ),
    "scenes-edges": ClassifierSpec(
        architecture="test_resnet",
        grammar="scene",
        colour_weight=0.0,
        augment=FAINT,
        ease_steps=300,
        edges=Edges(),
        loop=LoopSpec(steps=1300, batch=64, learning_rate=2e-3, decay_steps=600, seed=12),
    ),
    "scenes-judge": ClassifierSpec(
        architecture="test_efficientnet",
        grammar="scene",
        ease_steps=400,
        loop=LoopSpec(steps=2200, batch=64, learning_rate=3e-3, decay_steps=1200, seed=13),
    ),
    "scenes-clip": ClipSpec(
        grammar="scene",
        trunk="scenes-style",
        loop=LoopSpec(steps=700, batch=96, learning_rate=1e-3, decay_steps=400, average=0.98, seed=14),
    ),
    "scenes-vae": VaeSpec(
        grammar="scene",
        trunk="vae",
        loop=LoopSpec(
            steps=600, batch=32, learning_rate=1.5e-3, warmup_steps=50, decay_steps=300, weight_decay=1e-4, seed=17
        ),
    ),
    "scenes": TextToImageSpec(
        channels=(16, 32, 64, 128),
        grammar="scene",
        start="text-to-image",
        images=64_000,
        loop=LoopSpec(
            steps=4600, batch=32, learning_rate=1.2e-3, warmup_steps=200, decay_steps=2600, average=0.998, seed=15
        ),
    ),
    "scenes-lm": LanguageModelSpec(
        loop=LoopSpec(steps=1600, batch=64, learning_rate=3e-3, decay_steps=1000, average=0.99, seed=16),
    ),
}
