"""Train an embedded model and the parts that it is built on, and ship it with its card."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from stages.models.zoo import WEIGHTS
from tuning.training.consistency.recipe import ConsistencyRecipe
from tuning.training.consistency.settings import ConsistencySpec
from tuning.training.edm import EdmRecipe
from tuning.training.settings import EdmSpec
from tuning.training.zoo import PARTS
from tuning.training.zoo.cards import TEXTS, write_card
from tuning.training.zoo.classifier import ClassifierRecipe, ClassifierSpec
from tuning.training.zoo.clip import ClipRecipe, ClipSpec
from tuning.training.zoo.descriptor import DescriptorRecipe, DescriptorRecipeSpec
from tuning.training.zoo.language_model import LanguageModelRecipe, LanguageModelSpec
from tuning.training.zoo.loop import Loop, Recipe
from tuning.training.zoo.settings import SETTINGS, AnyRecipeSpec
from tuning.training.zoo.text_to_image import TextToImageRecipe, TextToImageSpec
from tuning.training.zoo.upsampler import UpsamplerRecipe, UpsamplerSpec, add_upsampler
from tuning.training.zoo.vae import VaeRecipe

SHIPPED: dict[str, dict[str, str]] = {
    "classifier": {"classifier": "."},
    "clip": {"clip": "."},
    "scenes-style": {"scenes-style": "."},
    "scenes-clip": {"scenes-clip": "."},
    "scenes-vae": {"scenes/vae": "."},
    "text-to-image": {"text-to-image": "."},
    "vae": {"text-to-image/vae": "."},
    "upsampler": {"pixel-fixed/upsampler": "upsampler", "pixel-fixed/upsampler_scheduler": "upsampler_scheduler"},
}
"""Where the weights have a part that others are built on: folder there, and in the part's own folder."""


def train(
    name: str,
    work: Path = Path(".training"),
    weights: Path = WEIGHTS,
    device: str = "cpu",
    threads: int | None = None,
    *,
    anew: bool = False,
) -> Path:
    """Train `name` and return its folder in `weights`, or in `work` for a part that does not ship by itself.

    The parts that it is built on are those that ship, so that all models share them bit for bit; with `anew`, and where
    they do not ship, they are trained too. `work` keeps the checkpoints: a second call goes on where the first was
    stopped, and does nothing if it ended.
    """
    if name not in PARTS:
        raise ValueError(f"zoo train: can train {', '.join(PARTS)}, but {name!r} was asked for")
    if threads is not None:
        torch.set_num_threads(threads)
    prepare(name, work, weights if not anew else None, device)
    run(name, work, device)
    if name not in TEXTS:
        return work / name
    return ship(name, work, weights)


def prepare(name: str, work: Path, weights: Path | None, device: str) -> None:
    """Take the parts that `name` is built on from `weights`; those that are not there are trained, after their own."""
    for part in PARTS[name]:
        if weights is None or not take(part, work, weights):
            prepare(part, work, weights, device)
            run(part, work, device)


def take(part: str, work: Path, weights: Path) -> bool:
    """Copy a part that ships to `work`, unless its training began there; return whether it was copied."""
    places = SHIPPED.get(part, {})
    if (work / f"{part}.pt").exists() or not all((weights / place).is_dir() for place in places) or not places:
        return False
    for place, target in places.items():
        shutil.copytree(weights / place, work / part / target, dirs_exist_ok=True)
    return True


def ship(name: str, work: Path, weights: Path = WEIGHTS) -> Path:
    """Put a trained model's parts into `weights`, measure it there and write its card."""
    folder, partial = weights / name, weights / f".{name}"
    shutil.rmtree(partial, ignore_errors=True)
    assemble(name, work, partial)
    for file in write_card(name, partial, work).shared:
        (partial / file).unlink()
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder


def assemble(name: str, work: Path, folder: Path) -> None:
    """Write a trained model, with its second stage where it has one, in half precision."""
    if "upsampler" in PARTS[name]:
        add_upsampler(work / name, work / "upsampler", folder)
    else:
        shutil.copytree(work / name, folder)
    for file in folder.rglob("*.safetensors"):
        halve(file)
    for file in folder.rglob("*.json"):
        forget_place(file)


def forget_place(file: Path) -> None:
    """Rewrite a model's settings without the folder of this machine that diffusers notes in them."""
    settings = json.loads(file.read_text())
    if isinstance(settings, dict) and settings.pop("_name_or_path", None) is not None:
        file.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def halve(file: Path) -> None:
    """Rewrite a safetensors file in half precision; loaders turn it back into single precision."""
    tensors = {name: x.half() if x.is_floating_point() else x for name, x in load_file(file).items()}
    save_file(tensors, file, {"format": "pt"})


def run(part: str, work: Path, device: str) -> None:
    """Train one part, or go on where it was stopped, and write its files to `work`."""
    spec, checkpoint = SETTINGS[part], work / f"{part}.pt"
    recipe = _recipe(spec, work, device)
    loop = Loop(recipe, spec.loop, checkpoint)
    if loop.step == 0 and isinstance(spec, TextToImageSpec) and spec.trunk:
        loop.branch_off(work / f"{spec.trunk}.pt")
    loop.run()
    recipe.save(loop.average.cpu(), work / part)


def _recipe(spec: AnyRecipeSpec, work: Path, device: str) -> Recipe[Any, Any]:
    match spec:
        case ClassifierSpec():
            return ClassifierRecipe(spec, device)
        case ClipSpec() | LanguageModelSpec():
            return _reading(spec, work, device)
        case DescriptorRecipeSpec():
            return DescriptorRecipe(spec, work / "classifier", device)
        case EdmSpec():
            return EdmRecipe(spec, device)
        case ConsistencySpec() | TextToImageSpec() | UpsamplerSpec():
            return _captioned(spec, work, device)
        case _:
            return VaeRecipe(spec, device, work / spec.trunk if spec.trunk else None)


def _reading(spec: ClipSpec | LanguageModelSpec, work: Path, device: str) -> Recipe[Any, Any]:
    if isinstance(spec, LanguageModelSpec):
        return LanguageModelRecipe(spec, work / "tokenizer", device)
    return ClipRecipe(spec, work / "tokenizer", work / spec.trunk, device)


def _captioned(spec: ConsistencySpec | TextToImageSpec | UpsamplerSpec, work: Path, device: str) -> Recipe[Any, Any]:
    if isinstance(spec, ConsistencySpec):
        return ConsistencyRecipe(spec, work / spec.teacher, work, device)
    vae, clip = (work / f"{'scenes-' if spec.grammar == 'scene' else ''}{part}" for part in ("vae", "clip"))
    if isinstance(spec, UpsamplerSpec):
        return UpsamplerRecipe(spec, clip, device)
    return TextToImageRecipe(spec, work, (vae, clip), device)
