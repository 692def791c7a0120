"""What a generator's files say of it before its weights are loaded. Imports no heavy library."""

import json
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

from stages.models.glide.options import GlideOptions
from stages.models.source import Location, locate, stages_of
from stages.sampling.spec import SamplerSpec

Settings: TypeAlias = dict[str, object]

DRAWING = {"ddpm", "euler_ancestral", "lcm"}
"""The samplers that draw noise at every step."""
DRAWING_CLASSES = ("DDPM", "Ancestral", "LCM", "SDE", "TCD", "Consistency")
"""Parts of the names of diffusers' schedulers that do."""


class Outline(NamedTuple):
    """What is known of a generator; None where its files do not say it in a way that is understood here."""

    channels: int | None
    side: int | None
    """Of the seed latent, at the model's own size."""
    pixels: int
    """Pixels a side that an entry of the latent stands for."""
    scheduler: str | None
    """Its own, as diffusers calls it."""
    classes: tuple[str, ...] | None
    """The names of its classes, in order."""
    text: bool
    """Whether it reads its prompts as texts."""

    def latent_shape(self, size_px: int | None) -> tuple[int, int, int] | None:
        """Return channels, height and width of the seed latent."""
        side = self.side if size_px is None else size_px // self.pixels
        return None if self.channels is None or side is None else (self.channels, side, side)


@lru_cache(maxsize=64)
def outline(model: str) -> Outline:
    """Return what the files of `model` say."""
    where = locate(stages_of(model)[0], "diffusers")
    if base := (read(where, "glide.json") or {}).get("base"):
        return Outline(3, GlideOptions.model_validate(base).side_px, 1, "DDPMScheduler", None, text=True)
    scheduler = (read(where, "scheduler/scheduler_config.json") or {}).get("_class_name")
    named = str(scheduler) if scheduler else None
    if (folder := Path(where.place)).is_dir() and (shape := analytic_shape(folder)):
        return Outline(shape[0], shape[2], 1, named, None, text=False)
    network = read(where, "unet/config.json") or read(where, "transformer/config.json") or {}
    vae = read(where, "vae/config.json") or read(where, "vqvae/config.json")
    channels, side = whole(network.get("in_channels")), whole(network.get("sample_size"))
    if str(network.get("_class_name")).startswith("Flux"):
        channels, side = channels and channels // 4, None  # latents are packed two by two
    blocks = vae.get("block_out_channels") if vae else None
    pixels = 2 ** (len(blocks) - 1) if isinstance(blocks, list) else 1
    text = read(where, "text_encoder/config.json") is not None
    return Outline(channels, side, pixels, named, class_names(folder), text)


def has_second_stage(model: str) -> bool:
    """Return whether the files of `model` hold, or its name adds, a stage that enlarges its pictures."""
    where = locate((names := stages_of(model))[0], "diffusers")
    index, glide = (read(where, name) or {} for name in ("model_index.json", "glide.json"))
    part = index.get("upsampler")
    return len(names) > 1 or "upsampler" in glide or (isinstance(part, list) and part[0] is not None)


def draws_noise(model: str, sampler: SamplerSpec) -> bool:
    """Say whether a sampler draws noise after the first, so that a picture is not a function of its seed latent."""
    if sampler.scheduler == "model":
        named = outline(model).scheduler or ""
        return any(part in named for part in DRAWING_CLASSES)
    return sampler.scheduler in DRAWING or sampler.eta > 0


def read(where: Location, name: str) -> Settings | None:
    """Return the settings in a file of a folder or a hub repository; None where there is none."""
    path = Path(where.place) / name
    if not Path(where.place).is_dir():
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError

        try:
            path = Path(hf_hub_download(where.place, name, revision=where.revision))
        except (OSError, ValueError, HfHubHTTPError):
            return None
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else None


def analytic_shape(folder: Path) -> tuple[int, ...] | None:
    """Return channels, height and width of an analytic model's pictures; None for another model."""
    if not (folder / "analytic.json").is_file():
        return None
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="numpy") as tensors:
        shapes = {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118  no mapping
    if "points" in shapes:
        return shapes["points"][1:]
    return shapes["basis"][:3] if "basis" in shapes else shapes.get("mean")


def class_names(folder: Path) -> tuple[str, ...] | None:
    """Return the class names that a local folder lists."""
    file = folder / "classes.json"
    return tuple(map(str, json.loads(file.read_text(encoding="utf-8")))) if file.is_file() else None


def whole(value: object) -> int | None:
    """Return a setting that is a whole number, else None."""
    return value if isinstance(value, int) else None
