"""The second stage of the pixel models: from 16 x 16 to 64 x 64, with a learned variance, as GLIDE's from 64 to 256."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from stages.models.pixel_text import PixelTextPipeline
from stages.models.zoo import world
from tuning.training.zoo.captioned import CaptionedDiffusion, CaptionedSpec, schedule, unet
from tuning.training.zoo.data import pictures
from tuning.training.zoo.text_to_image import SIDE


class UpsamplerSpec(CaptionedSpec):
    """A small U-Net that sees its state and the small picture, bilinearly enlarged, as three further channels."""

    kind: Literal["upsampler"] = "upsampler"
    channels: tuple[int, ...] = (16, 16, 32, 48)
    deepest: int = Field(2, ge=1, description="Levels with attention, counted from the deepest.")
    variance: Literal["learned_range"] = "learned_range"


class UpsamplerRecipe(CaptionedDiffusion[UpsamplerSpec]):
    """Draw the render, given its box average. Noise schedule: linear, as GLIDE's."""

    discrete = True

    def __init__(self, spec: UpsamplerSpec, clip_folder: Path, device: str = "cpu") -> None:
        self.spec, self.device = spec, device
        self.scheduler = schedule(spec, "linear", pixels=True)
        self._prepare(clip_folder, (3, world.PIXELS, world.PIXELS))

    @override
    def network(self, shape: tuple[int, int, int], width: int) -> UNet2DConditionModel:
        return unet(self.spec, shape, 2 * shape[0], width, deepest=self.spec.deepest)

    @override
    def clean(self, index: Int64[np.ndarray, " b"]) -> Float[Tensor, "b c h w"]:
        return pictures(index, self.spec.grammar) * 2 - 1

    @override
    def beside(self, clean: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b c h w"]]:
        small = functional.avg_pool2d(clean, clean.shape[-1] // SIDE)
        saved = ((small + 1) * 127.5).round() / 127.5 - 1
        return [functional.interpolate(saved, clean.shape[-1], mode="bilinear", align_corners=False)]

    @override
    def save(self, module: UNet2DConditionModel, folder: Path) -> None:
        """Write the two parts that `add_upsampler` puts into a pixel model's folder."""
        module.save_pretrained(folder / "upsampler")
        self.scheduler.save_pretrained(folder / "upsampler_scheduler")


@torch.no_grad()
def add_upsampler(model: Path, upsampler: Path, folder: Path) -> None:
    """Write the pixel model of one folder, with the upsampler of another as its second stage."""
    PixelTextPipeline.from_pretrained(
        model,
        upsampler=UNet2DConditionModel.from_pretrained(upsampler / "upsampler"),
        upsampler_scheduler=DDPMScheduler.from_pretrained(upsampler / "upsampler_scheduler"),
    ).save_pretrained(folder)
