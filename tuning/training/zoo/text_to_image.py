"""The text-to-image models: in latents, in Stable Diffusion's own format, or in pixels."""

import os
from copy import deepcopy
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from jaxtyping import Float, Int64
from pydantic import Field, model_validator
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTokenizer
from typing_extensions import override

from stages.models.pixel_text import PixelTextPipeline
from stages.models.zoo import checksum
from tuning.training.pictures import WorldPictures
from tuning.training.zoo import clip
from tuning.training.zoo.captioned import CaptionedDiffusion, CaptionedSpec, schedule, unet
from tuning.training.zoo.data import Grammar, pictures

SIDE = 16
"""Of latents and of pixel models alike, so that both have the same U-Net but for their channels."""


class TextToImageSpec(CaptionedSpec):
    """A small U-Net on the autoencoder's latents or on small pictures, conditioned on the CLIP's text tower."""

    kind: Literal["text_to_image"] = "text_to_image"
    channels: tuple[int, ...] = (32, 64, 128)
    space: Literal["latent", "pixel"] = Field(
        "latent",
        exclude_if=lambda value: value == "latent",
        description="'pixel': renders box-averaged to 16 x 16, in [-1, 1].",
    )
    schedule: Literal["scaled_linear", "linear", "cosine"] = Field(
        "scaled_linear",
        exclude_if=lambda value: value == "scaled_linear",
        description="Noise schedule: Stable Diffusion's, that of Ho et al. 2020, or GLIDE's.",
    )
    start: Literal["text-to-image"] | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="Model of the same channels whose network it starts from; null: from nothing.",
    )
    shared_steps: int = Field(
        0,
        ge=0,
        exclude_if=lambda value: value == 0,
        description="First steps that it shares with all models of its space, trained once as `trunk`.",
    )

    @model_validator(mode="after")
    def _scenes_need_latents(self) -> "TextToImageSpec":
        if self.grammar == "scene" and self.space == "pixel":
            raise ValueError("grammar='scene': expected space='latent', since 16 pixels show no scene; found 'pixel'")
        return self

    @property
    def trunk(self) -> str | None:
        """Return the training that it branches off from; None where it has no first steps in common."""
        return f"{self.space}-trunk" if self.shared_steps else None


class TextToImageRecipe(CaptionedDiffusion[TextToImageSpec]):
    """Four models, one factor apart: latents or pixels, with a fixed variance or a learned one."""

    def __init__(self, spec: TextToImageSpec, work: Path, parts: tuple[Path, Path], device: str = "cpu") -> None:
        self.spec, self.device = spec, device
        vae, clip_folder = parts
        self.discrete = spec.space == "pixel"
        self.scheduler = schedule(spec, spec.schedule, pixels=self.discrete)
        if spec.space == "pixel":
            self.pixels = cached_pixels(spec.images, work / f"pixels-{SIDE}.safetensors")
        else:
            self.vae = AutoencoderKL.from_pretrained(vae)
            version = checksum(vae / "diffusion_pytorch_model.safetensors")[:12]
            name = {"thing": "latents", "scene": "scene-latents"}[spec.grammar]
            cache = work / f"{name}-{version}.safetensors"
            self.latents = cached_latents(self.vae, spec.images, cache, device, spec.grammar)
        self._prepare(clip_folder, (3 if self.discrete else 4, SIDE, SIDE))
        if spec.start:
            known = UNet2DConditionModel.from_pretrained(work / spec.start / "unet")
            self.module.load_state_dict(known.state_dict())

    @override
    def network(self, shape: tuple[int, int, int], width: int) -> UNet2DConditionModel:
        return unet(self.spec, shape, shape[0], width, deepest=len(self.spec.channels) - 1)

    @override
    def clean(self, index: Int64[np.ndarray, " b"]) -> Float[Tensor, "b c h w"]:
        rows = torch.from_numpy(index)
        return self.pixels[rows].float() / 127.5 - 1 if self.discrete else self.latents[rows].float()

    @override
    def save(self, module: UNet2DConditionModel, folder: Path) -> None:
        """Write the folder that `StableDiffusionPipeline.from_pretrained` loads; in pixels `PixelTextPipeline`'s."""
        parts = {
            "unet": module,
            "text_encoder": clip.text_model(self.clip),
            "tokenizer": CLIPTokenizer.from_pretrained(self.clip),
            "scheduler": self.scheduler,
        }
        if self.discrete:
            PixelTextPipeline(**parts).save_pretrained(folder)
            return
        off = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        StableDiffusionPipeline(vae=self.vae, **parts, **off).save_pretrained(folder)


@torch.no_grad()
def cached_latents(
    vae: AutoencoderKL, images: int, cache: Path, device: str = "cpu", grammar: Grammar = "thing"
) -> Float[Tensor, "n 4 16 16"]:
    """Return the latents of the first `images` renders in half precision, from the cache if it has them."""
    if cache.exists() and len(latents := load_file(cache)["latents"]) == images:
        return latents
    # single precision: a CPU without bfloat16 of its own computes it fifteen times as slowly
    vae = deepcopy(vae).to(device, memory_format=torch.channels_last)
    parts = []
    for start in range(0, images, 64):
        x = pictures(np.arange(start, min(start + 64, images)), grammar) * 2 - 1
        parts.append(vae.encode(x.to(device, memory_format=torch.channels_last)).latent_dist.mean.half().cpu())
    latents = torch.cat(parts).contiguous()
    cache.parent.mkdir(parents=True, exist_ok=True)
    partial = cache.with_suffix(f".{os.getpid()}")  # another trial may be at it too
    save_file({"latents": latents}, partial)
    partial.replace(cache)
    return latents


def cached_pixels(images: int, cache: Path) -> Tensor:
    """Return the first `images` renders, box-averaged, as bytes [n 3 16 16], from the cache if it has them."""
    if cache.exists() and len(pixels := load_file(cache)["pixels"]) == images:
        return pixels
    small = WorldPictures(side_px=SIDE, count=images).load(np.arange(images)).images
    pixels = torch.from_numpy(small).permute(0, 3, 1, 2).contiguous()
    cache.parent.mkdir(parents=True, exist_ok=True)
    save_file({"pixels": pixels}, cache)
    return pixels
