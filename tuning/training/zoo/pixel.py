"""The small pixel-space models: a U-Net and a transformer, trained on the same pictures for the same time."""

from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from stages.models.chunks import chunks
from stages.models.loading import load_generator
from stages.models.spec import ModelSpec
from stages.models.unconditional import LabelledNetwork
from stages.models.zoo import Figure, world
from stages.randomness import rng
from stages.sampling import SamplerSpec
from tuning.training.edm import precondition, weight
from tuning.training.networks import Transformer, UNet
from tuning.training.pictures import TrainingSet, WorldPictures
from tuning.training.pixels import as_batch, as_function
from tuning.training.settings import Budget, EdmSpec
from tuning.training.zoo.loop import generator
from tuning.training.zoo.measure import load_classifier, mean, predict, share

WORLD = WorldPictures(side_px=16, count=64_000)
UNSEEN = WorldPictures(side_px=16, first=world.HELD_OUT, count=960)
BUDGET = Budget(
    pictures=128_000,
    batch=32,
    learning_rate=1.2e-3,
    warmup=6_400,
    decay=64_000,
    half_life=10_000,
    checkpoint=6_400,
    seed=6,
)
UNET = EdmSpec(network=UNet(width=32, multipliers=(1, 2, 2)), data=TrainingSet(source=WORLD), budget=BUDGET)
TRANSFORMER = EdmSpec(
    network=Transformer(width=128, depth=4),
    data=TrainingSet(source=WORLD),
    budget=BUDGET.model_copy(update={"seed": 7}),
)

SAMPLER = SamplerSpec(scheduler="heun", steps=18, guidance=1.0)
SIGMAS = (0.02, 0.1, 0.3, 1.0, 3.0, 10.0)


def pixel_figures(folder: Path, judges: Path, rounds: int = 50) -> tuple[Figure, ...]:
    """Measure what classifier and judge see in drawn and in real pictures, and the error at each noise level."""
    loaded = cast("LabelledNetwork", load_generator(ModelSpec(model=str(folder), device="cpu")))
    drawn, asked = draw(loaded, rounds)
    real = UNSEEN.load(np.arange(UNSEEN.count))
    figures = []
    for judge in ("classifier", "judge"):
        model = load_classifier(judges / judge)
        for what, pictures, label in (
            ("18 Heun steps", drawn, asked),
            ("real pictures of this size", real.images, real.labels),
        ):
            figures.append(
                share(f"object by {judge}, {what}", predict(model, enlarged(pictures)) == torch.tensor(label))
            )
    return (*figures, *(error(loaded, sigma) for sigma in SIGMAS))


def draw(model: LabelledNetwork, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures of every class in turn, and the classes."""
    classes = np.tile(np.arange(len(world.CLASSES)), rounds)
    pictures = []
    for seeds, real in chunks(range(len(classes)), 120):
        latents = [rng(seed, "latent").standard_normal(model.latent_shape(None), dtype=np.float32) for seed in seeds]
        names = [world.CLASSES[classes[seed]] for seed in seeds]
        pictures += [p for p in model.pictures(latents, names, seeds, SAMPLER)[:real] if p is not None]
    return np.stack(pictures), classes


def enlarged(pictures: np.ndarray) -> Tensor:
    """Return pictures at the size that the classifiers know, in [0, 1]."""
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    return interpolate(x, size=world.PIXELS, mode="bicubic").clamp(0, 1)


@torch.no_grad()
def error(model: LabelledNetwork, sigma: float) -> Figure:
    """Return the weighted squared error of the denoiser on pictures that it was not trained on."""
    real = UNSEEN.load(np.arange(UNSEEN.count))
    clean = as_batch(real)
    noise = torch.randn(clean.shape, generator=generator(0, "measure", str(sigma)))
    errors = []
    for x, n, label in zip(clean.split(96), noise.split(96), torch.from_numpy(real.labels).split(96), strict=True):
        level = torch.full((len(x),), sigma)
        denoised = precondition(as_function(model.network), label)(x + sigma * n, level)
        errors.append((weight(level) * (denoised - x) ** 2).mean(dim=(1, 2, 3)))
    return mean(f"loss at sigma {sigma:g}", torch.cat(errors).tolist())
