"""The figures on the cards, measured on renders that no model has seen."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import open_clip
import timm
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from jaxtyping import Bool, Float
from statsmodels.stats.proportion import proportion_confint
from torch import Tensor, nn

from stages.models.zoo import Figure, world
from tuning.training.zoo.augment import AugmentSpec, augment
from tuning.training.zoo.classifier import normalise
from tuning.training.zoo.data import Grammar, pictures
from tuning.training.zoo.loop import generator

PROMPTS = [world.caption(thing, colour) for colour in world.COLOURS for thing in world.CLASSES]
"""One for each class and colour; prompt i says what index i shows."""

TINTS = {
    "unchanged": (0.0, 0.0, 0.0),
    "brighter by 0.2": (0.2, 0.2, 0.2),
    "brighter by 0.4": (0.4, 0.4, 0.4),
    "darker by 0.2": (-0.2, -0.2, -0.2),
    "darker by 0.4": (-0.4, -0.4, -0.4),
    "tinted by 0.2": (0.2, -0.2, 0.1),
    "tinted by 0.4": (0.4, -0.4, 0.2),
}
"""Offsets of red, green and blue, of full scale, clipped."""

GUIDANCE, STEPS = 4.0, 20
Pictures = Float[Tensor, "b 3 64 64"]


def classifier_figures(folder: Path, images: int = 2400) -> tuple[Figure, ...]:
    """Top-1 of objects on held-out renders: as they are, tinted, and changed as in training."""
    model = load_classifier(folder)
    index = np.arange(world.HELD_OUT, world.HELD_OUT + images)
    x, label = pictures(index), torch.from_numpy(world.labels(index))
    changed = {name: (x + torch.tensor(tint)[:, None, None]).clamp(0, 1) for name, tint in TINTS.items()}
    changed["all training changes"] = augment(x, AugmentSpec(), generator(0, "measure"))
    return tuple(share(f"top-1, {name}", predict(model, y) == label) for name, y in changed.items())


def clip_figures(folder: Path, images: int = 2400) -> tuple[Figure, ...]:
    """Zero-shot accuracy among the 96 prompts."""
    index = np.arange(world.HELD_OUT, world.HELD_OUT + images)
    x, wanted = pictures(index), torch.from_numpy(index % len(PROMPTS))
    found = zero_shot(folder, x)
    classes = len(world.CLASSES)
    return (
        share("zero-shot, object and colour among 96", found == wanted),
        share("zero-shot, object", found % classes == wanted % classes),
        share("zero-shot, colour", found // classes == wanted // classes),
    )


def text_to_image_figures(folder: Path, judges: Path, rounds: int = 5) -> tuple[Figure, ...]:
    """Measure what classifier, judge and CLIP see in pictures of all prompts, and the autoencoder's error."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    x = torch.cat([draw(pipeline, number) for number in range(rounds)])
    return (*judged(x, judges, f"guidance {GUIDANCE:g}, {STEPS} DDIM steps"), reconstruction(pipeline.vae))


def judged(x: Pictures, judges: Path, at: str) -> tuple[Figure, ...]:
    """Return what classifier, judge and CLIP see in pictures of all prompts in order, once or more, drawn `at`."""
    wanted = torch.arange(len(PROMPTS)).repeat(len(x) // len(PROMPTS))
    label, colour = wanted % len(world.CLASSES), wanted // len(world.CLASSES)
    seen = zero_shot(judges / "clip", x)
    return (
        share(f"object by classifier, {at}", predict(load_classifier(judges / "classifier"), x) == label),
        share(f"object by judge, {at}", predict(load_classifier(judges / "judge"), x) == label),
        share(f"object by CLIP, {at}", seen % len(world.CLASSES) == label),
        share(f"colour by CLIP, {at}", seen // len(world.CLASSES) == colour),
    )


@torch.no_grad()
def draw(pipeline: StableDiffusionPipeline, number: int, batch: int = 48) -> Pictures:
    """Return one picture of each prompt; `number` seeds the noise."""
    latents = torch.stack([torch.randn(4, 16, 16, generator=generator(number, "draw", i)) for i in range(len(PROMPTS))])
    made = [
        pipeline(
            PROMPTS[start : start + batch],
            latents=latents[start : start + batch],
            guidance_scale=GUIDANCE,
            num_inference_steps=STEPS,
            output_type="pt",
        ).images
        for start in range(0, len(PROMPTS), batch)
    ]
    return torch.cat(made).float().mul(255).round().div(255)


def load_classifier(folder: Path) -> nn.Module:
    """Return a classifier for inference."""
    model: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True)
    return model.eval()


@torch.no_grad()
def predict(model: nn.Module, x: Pictures) -> Tensor:
    """Return the most likely class of each picture."""
    return torch.cat([model(normalise(part)).argmax(dim=1) for part in x.split(96)])


@torch.no_grad()
def zero_shot(folder: Path, x: Pictures, prompts: list[str] = PROMPTS) -> Tensor:
    """Return the number of the prompt that CLIP finds nearest to each picture."""
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    texts = model.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(prompts), normalize=True)
    found = [(model.encode_image(normalise(part), normalize=True) @ texts.T).argmax(dim=1) for part in x.split(96)]
    return torch.cat(found)


@torch.no_grad()
def reconstruction(
    vae: AutoencoderKL, grammar: Grammar = "thing", name: str = "autoencoder PSNR, dB", images: int = 480
) -> Figure:
    """Peak signal-to-noise ratio of the autoencoder on held-out renders."""
    x = pictures(np.arange(world.HELD_OUT, world.HELD_OUT + images), grammar)
    y = torch.cat([vae.decode(vae.encode(part * 2 - 1).latent_dist.mean).sample for part in x.split(96)])
    error = ((y / 2 + 0.5).clamp(0, 1) - x).square().mean(dim=(1, 2, 3))
    return mean(name, (-10 * error.log10()).tolist())


def share(name: str, hits: Bool[Tensor, " b"]) -> Figure:
    """Return a share with its Wilson interval."""
    low, high = proportion_confint(int(hits.sum()), len(hits), method="wilson")
    value = int(hits.sum()) / len(hits)
    # at 0 and 1 the interval's own end is off by a rounding error
    return Figure(name=name, value=value, low=min(float(low), value), high=max(float(high), value), n=len(hits))


def mean(name: str, values: Iterable[float]) -> Figure:
    """Return a mean with its normal interval."""
    x = np.array(list(values))
    half = 1.96 * float(x.std(ddof=1)) / math.sqrt(len(x))
    return Figure(name=name, value=float(x.mean()), low=float(x.mean()) - half, high=float(x.mean()) + half, n=len(x))
