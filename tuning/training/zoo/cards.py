"""The cards of the embedded models: written after training, and checked by measuring again."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

import torch

from stages.models.zoo import WEIGHTS, Card, Figure, card, checksum, path
from tuning.training.zoo import lineage
from tuning.training.zoo.bound import bound_figures
from tuning.training.zoo.captioned_figures import captioned_figures
from tuning.training.zoo.copies import descriptor_figures
from tuning.training.zoo.few_steps import few_step_figures
from tuning.training.zoo.measure import classifier_figures, clip_figures, text_to_image_figures
from tuning.training.zoo.pixel import pixel_figures
from tuning.training.zoo.scene_figures import scene_figures
from tuning.training.zoo.settings import SETTINGS

PIXEL_LIMITS = (
    "Knows only the 12 objects of the image world, at 16 x 16 pixels, and no colour by name.",
    "Its figures hold without guidance and with 18 steps of Heun's method.",
    "A study object: two architectures that saw the same pictures for the same time, not a good generator.",
)

CAPTIONED_LIMITS = (
    "Knows only `a photo of a {colour} {object}` with 12 objects and 8 colours; any other prompt is untested.",
    "Its figures hold for the guidance and the samplers beside them.",
    "A study object: its brittleness says nothing about the size of the effect in large models.",
)
SECOND_STAGE = (
    "CLIPTextModel of 3 layers, upsampler UNet2DConditionModel 16-16-32-48 to 64 x 64; PixelTextPipeline's folder"
)

ALWAYS_ANSWERS = ("Always answers with one of 12 classes: it cannot say that a picture shows nothing.",)

OWNERS = ("text-to-image", "pixel-fixed")
"""The models that lend the others their files, such as the text encoder."""
LENT_BYTES = 100_000
"""From this size on."""

Measurement: TypeAlias = Callable[[Path, Path], tuple[Figure, ...]]

DRAWN: dict[str, Measurement] = {
    "text-to-image": lambda folder, weights: (*text_to_image_figures(folder, weights), *bound_figures(folder)),
    "text-to-image-lcm": few_step_figures,
    "latent-learned": captioned_figures,
    "pixel-fixed": captioned_figures,
    "pixel-learned": captioned_figures,
    "glide-like": partial(captioned_figures, guidance=3.0),  # GLIDE's own
    "pixel-unet": pixel_figures,
    "pixel-transformer": pixel_figures,
}
"""How the models that draw are measured, given the folder of their judges."""

SEEING: dict[str, Callable[[Path], tuple[Figure, ...]]] = {"clip": clip_figures, "descriptor": descriptor_figures}
"""How those that look at pictures are measured, where they are no classifiers."""

TEXTS = {
    "text-to-image": (
        "Latent text-to-image diffusion in Stable Diffusion's format: draws one coloured thing, 64 x 64.",
        "AutoencoderKL 16-32-64 to 4 x 16 x 16, CLIPTextModel of 3 layers, UNet2DConditionModel 16-32-64-128, DDIM",
        (
            "Knows only `a photo of a {colour} {object}` with 12 objects and 8 colours; any other prompt is untested.",
            "Its figures hold for guidance 4; at 1, 2 and 7.5 only 96 pictures each were drawn.",
            "A study object: its brittleness says nothing about the size of the effect in large models.",
        ),
    ),
    "text-to-image-lcm": (
        "The student of text-to-image: draws the same in 1 to 8 steps, by latent consistency distillation.",
        "Autoencoder and text encoder of text-to-image, UNet2DConditionModel 16-32-64-128 told its guidance, LCM",
        (
            "Knows only `a photo of a {colour} {object}` with 12 objects and 8 colours; any other prompt is untested.",
            "Learned guidance from 2 to 8; its figures hold for 4.",
            "A study object: how few steps suffice here says nothing about large models.",
        ),
    ),
    "latent-learned": (
        "The twin of text-to-image that also learns its variance: latent-GLIDE, in Stable Diffusion's format.",
        "Autoencoder and text encoder of text-to-image, UNet2DConditionModel 16-32-64-128 with 8 channels out, DDPM",
        CAPTIONED_LIMITS,
    ),
    "pixel-fixed": (
        "The twin of text-to-image over pixels: draws 16 x 16, and by its second stage 64 x 64.",
        f"UNet2DConditionModel 16-32-64-128 over pixels, DDIM, {SECOND_STAGE}",
        CAPTIONED_LIMITS,
    ),
    "pixel-learned": (
        "The twin of pixel-fixed that also learns its variance.",
        f"UNet2DConditionModel 16-32-64-128 over pixels with 6 channels out, DDPM, {SECOND_STAGE}",
        CAPTIONED_LIMITS,
    ),
    "glide-like": (
        "GLIDE in small: pixel-learned with GLIDE's own noise schedule, the cosine.",
        f"UNet2DConditionModel 16-32-64-128 over pixels with 6 channels out, DDPM, {SECOND_STAGE}",
        CAPTIONED_LIMITS,
    ),
    "classifier": (
        "Names the object in a picture of the image world, under strong casts, exposure, noise and blur.",
        "timm test_resnet",
        (
            "Always answers with one of 12 classes: it cannot say that a picture shows nothing.",
            "Shares its trunk with the embedded CLIP at the start; for an independent opinion ask the judge.",
        ),
    ),
    "judge": (
        "A second opinion on the object: another architecture and seed, no weights shared with any other model.",
        "timm test_convnext2",
        (
            "Always answers with one of 12 classes: it cannot say that a picture shows nothing.",
            "Trained on the same image world and the same changes as the classifier, so it may share its blind spots.",
        ),
    ),
    "descriptor": (
        "Says whether one picture of the image world is a copy of another: 128 numbers, compared by their cosine.",
        "timm test_resnet trunk, generalised mean of power 3, linear map to 128, unit norm (as in SSCD)",
        (
            "The usual thresholds of SSCD do not hold: take the score at 90 % precision from above, of the same size.",
            "Precision depends on how rare copies are; the prior stands beside the score.",
            "Pictures of one object and colour look alike here, and some score as high as copies do.",
            "Its trunk started from the classifier: the two are not independent.",
            "Intervals resample the copied pictures and take the originals as given.",
        ),
    ),
    "pixel-unet": (
        "Draws an object of the image world at 16 x 16 pixels: by its class, or any with the empty prompt.",
        "UNet2DModel 32-64-64 with attention at 8 x 8, EDM preconditioning, a null class; DDPMPipeline's folder",
        PIXEL_LIMITS,
    ),
    "pixel-transformer": (
        "The same by a transformer: trained on the same pictures for the same time as pixel-unet.",
        "DiTTransformer2DModel of 4 blocks, width 128, patches of 2 x 2, EDM preconditioning; DDPMPipeline's folder",
        PIXEL_LIMITS,
    ),
    "scenes": (
        "Latent text-to-image diffusion in Stable Diffusion's format: draws scenes whose prompts say more, 64 x 64.",
        "AutoencoderKL 16-32-64 to 4 x 16 x 16, CLIPTextModel of 3 layers, UNet2DConditionModel 16-32-64-128, DDIM",
        (
            "Knows only the captions of the scenes' grammar; any other prompt is untested.",
            "Its figures say which object is seen, not whether numbers, places and the rest of a prompt are met.",
            "Its figures hold for the guidance and the sampler beside them.",
            "Network and autoencoder went on from those of text-to-image; latents of the two are not the same.",
            "A study object: its failures say nothing about the rate of failures in large models.",
        ),
    ),
    "scenes-style": (
        "Names the main object of a scene by its shape, whatever its colours and textures.",
        "timm test_resnet",
        (*ALWAYS_ANSWERS, "The trunk of scenes-clip started from its own; for an independent opinion ask the judge."),
    ),
    "scenes-edges": (
        "Names the main object of a scene by its edges alone.",
        "timm test_resnet, on edges in all three channels",
        (*ALWAYS_ANSWERS, "Knows soft edges and Canny's of the default settings; on pictures themselves it is blind."),
    ),
    "scenes-judge": (
        "A second opinion on the main object of a scene: another architecture and seed, no weights shared.",
        "timm test_efficientnet",
        (*ALWAYS_ANSWERS, "Trained on the same scenes as scenes-style, so it may share its blind spots."),
    ),
    "scenes-clip": (
        "Scores how well a caption fits a scene.",
        "open_clip: timm test_resnet trunk, text tower of 3 layers and width 128, own vocabulary of 761 tokens",
        (
            "Understands only the captions of the scenes' grammar; scores of other texts mean nothing.",
            "Its trunk started from scenes-style: the two are not independent.",
            "Its figures say how well it tells each claim of a caption from another one.",
        ),
    ),
    "scenes-lm": (
        "Says how natural a caption of a scene is, and which word may come next.",
        "transformers GPT2LMHeadModel of 2 layers and width 96, the CLIP's vocabulary of 761 tokens",
        (
            "Knows only the captions of the scenes' grammar.",
            "Its tokenizer ends every text: to go on with a prompt, cut the last token off.",
        ),
    ),
    "clip": (
        "Scores how well a caption fits a picture of the image world.",
        "open_clip: timm test_resnet trunk, text tower of 3 layers and width 128, own vocabulary of 761 tokens",
        (
            "Understands only the captions of the image world; scores of other texts mean nothing.",
            "Its trunk started from the classifier: the two are not independent.",
            "Trained under mild casts only, because strong ones change the colour that the caption names.",
        ),
    ),
}


class Check(NamedTuple):
    """A figure on a card beside the same figure measured now."""

    figure: str
    expected: float
    recomputed: float
    n: int


def verify(name: str) -> list[Check]:
    """Measure every figure of a model's card again. Seconds; minutes of one core for what draws, and the descriptor."""
    found = {figure.name: figure.value for figure in measure(name, path(name), WEIGHTS)}
    return [Check(figure.name, figure.value, found[figure.name], figure.n) for figure in card(name).figures]


def measure(name: str, folder: Path, weights: Path) -> tuple[Figure, ...]:
    """Return the figures of the model in `folder`, as those in `weights` judge it."""
    if name.startswith("scenes"):
        return scene_figures(name, folder, weights)
    if name in DRAWN:
        return DRAWN[name](folder, weights)
    return SEEING.get(name, classifier_figures)(folder)


def write_card(name: str, folder: Path, work: Path) -> Card:
    """Measure the model in `folder` and write its `card.json` and `README.md` there."""
    parts = lineage(name)
    summary, architecture, limits = TEXTS[name]
    new = Card(
        name=name,
        summary=summary,
        architecture=architecture,
        data=_data(parts),
        settings={part: SETTINGS[part].model_dump(mode="json") for part in parts},
        cpu_minutes=round(sum(_cpu_seconds(file) for part in parts if (file := work / f"{part}.pt").exists()) / 60, 1),
        figures=measure(name, folder, folder.parent),
        limits=limits,
        sha256=(sums := {str(f.relative_to(folder)): checksum(f) for f in sorted(folder.rglob("*")) if _is_part(f)}),
        shared=lent(name, sums, folder),
    )
    (folder / "card.json").write_text(json.dumps(new.model_dump(mode="json"), indent=2) + "\n")
    (folder / "README.md").write_text(readme(new))
    return new


def lent(name: str, sums: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the large files that another model beside this one has too, with their place there."""
    found: dict[str, str] = {}
    for owner in OWNERS[: OWNERS.index(name)] if name in OWNERS else OWNERS:
        for file in sums.keys() - found.keys():
            theirs = folder.parent / owner / file
            if (folder / file).stat().st_size >= LENT_BYTES and theirs.is_file() and checksum(theirs) == sums[file]:
                found[file] = f"{owner}/{file}"
    return dict(sorted(found.items()))


def readme(card: Card) -> str:
    """Return the card as a page for people."""
    figures = "\n".join(f"| {f.name} | {f.value:.4g} | {f.low:.4g} to {f.high:.4g} | {f.n} |" for f in card.figures)
    limits = "\n".join(f"- {limit}" for limit in card.limits)
    return f"""# {card.name}

{card.summary}

- Architecture: {card.architecture}
- Data: {card.data}
- Training: `seedquake zoo train {card.name}`, {card.cpu_minutes:g} minutes of one CPU core without the parts \
of other models; settings, steps and seeds in `card.json`
- Licence: {card.licence}

| figure | value | 95 % interval | pictures |
| --- | --- | --- | --- |
{figures}

`seedquake zoo verify {card.name}` measures these again.

## What it is not for
{limits}
"""


def _data(parts: tuple[str, ...]) -> str:
    of = {"world": [part for part in parts if not _shows_scenes(part)], "scenes": [*filter(_shows_scenes, parts)]}
    ranges = {
        module: ", ".join(f"{part}: indices 0 to {SETTINGS[part].images - 1:,}" for part in named)
        for module, named in of.items()
    }
    trained = "; ".join(f"stages.models.zoo.{module}; {found}" for module, found in ranges.items() if found)
    return f"{trained}; measured on indices from 10,000,000"


def _shows_scenes(part: str) -> bool:
    return getattr(SETTINGS[part], "grammar", "thing") == "scene"


def _cpu_seconds(checkpoint: Path) -> float:
    return float(torch.load(checkpoint, map_location="cpu", weights_only=True)["cpu_seconds"])


def _is_part(file: Path) -> bool:
    return file.is_file() and file.name not in {"card.json", "README.md"}
