"""The autoencoder between pictures and latents: 64 x 64 x 3 to 16 x 16 x 4."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from stages.base import Spec
from stages.models.zoo import world
from tuning.training.zoo.data import Grammar, indices, pictures
from tuning.training.zoo.loop import LoopSpec, Recipe, generator


class VaeSpec(Spec):
    """A small AutoencoderKL, trained first on crops and then on whole pictures."""

    kind: Literal["vae"] = "vae"
    channels: tuple[int, ...] = (16, 32, 64)
    grammar: Grammar = "thing"
    trunk: Literal["vae"] | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="Autoencoder that it starts from; null: from nothing.",
    )
    images: int = Field(default=200_000, ge=1, description="Size of the training set: the first indices of the world.")
    kl_weight: float = Field(default=1e-3, ge=0, description="Of the mean divergence per latent number.")
    gradient_weight: float = Field(default=1.0, ge=0, description="Of the differences between neighbouring pixels.")
    crop_px: int = Field(default=32, ge=8)
    crop_share: float = Field(default=0.95, ge=0, le=1, description="Share of the steps that use crops.")
    loop: LoopSpec


class VaeRecipe(Recipe[VaeSpec, AutoencoderKL]):
    """Absolute, squared and gradient error, and a weak pull towards the unit Gaussian."""

    def __init__(self, spec: VaeSpec, device: str = "cpu", start: Path | None = None) -> None:
        self.spec, self.device = spec, device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.loop.seed)
            module = AutoencoderKL.from_pretrained(start) if start else autoencoder(spec.channels)
        self.module = module.to(device, memory_format=torch.channels_last)

    def loss(self, step: int) -> Tensor:
        """Return the loss of one step."""
        spec, random = self.spec, generator(self.spec.loop.seed, "vae", step)
        x = pictures(indices(step, spec.loop.batch, spec.images), spec.grammar) * 2 - 1
        crops = step < spec.crop_share * spec.loop.steps
        x = _crops(x, spec.crop_px, random) if crops else x[: len(x) // 2]  # whole pictures cost four times as much
        x = x.to(self.device, memory_format=torch.channels_last)
        posterior = self.module.encode(x).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=random).to(self.device)
        y = self.module.decode(posterior.mean + posterior.std * noise).sample
        divergence = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
        pixel = functional.l1_loss(y, x) + functional.mse_loss(y, x)
        return pixel + spec.gradient_weight * _gradient_error(y, x) + spec.kl_weight * divergence

    def save(self, module: AutoencoderKL, folder: Path) -> None:
        """Write diffusers' folder, with latents of zero mean and unit variance per channel."""
        normalise_latents(module, pictures(np.arange(min(2048, self.spec.images)), self.spec.grammar) * 2 - 1)
        module.save_pretrained(folder)


def autoencoder(channels: tuple[int, ...]) -> AutoencoderKL:
    """Return an untrained autoencoder that halves the picture between levels."""
    levels = len(channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=world.PIXELS,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, x: Float[Tensor, "b 3 64 64"]) -> None:
    """Fold the latents' mean and standard deviation per channel, measured on `x`, into the 1 x 1 convolutions.

    Exact, and it spares every user of the model four scaling factors.
    """
    latents = torch.cat([vae.encode(part).latent_dist.mean for part in x.to(vae.device).split(128)])
    mean, std = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
    into, out = dict(vae.quant_conv.named_parameters()), dict(vae.post_quant_conv.named_parameters())
    out["bias"] += out["weight"][:, :, 0, 0] @ mean
    out["weight"] *= std[None, :, None, None]
    into["weight"][:4] /= std[:, None, None, None]
    into["bias"][:4] = (into["bias"][:4] - mean) / std
    into["bias"][4:] -= 2 * std.log()  # the other half is the logarithm of the variance


def _crops(x: Float[Tensor, "b 3 64 64"], size: int, random: torch.Generator) -> Float[Tensor, "b 3 h w"]:
    """Return one crop of each picture, at even positions that differ from picture to picture."""
    corners = torch.randint(0, (x.shape[-1] - size) // 2 + 1, (len(x), 2), generator=random) * 2
    return torch.stack([p[:, r : r + size, c : c + size] for p, (r, c) in zip(x, corners.tolist(), strict=True)])


def _gradient_error(y: Float[Tensor, "b 3 h w"], x: Float[Tensor, "b 3 h w"]) -> Tensor:
    down, across = (functional.l1_loss(y.diff(dim=d), x.diff(dim=d)) for d in (2, 3))
    return down + across
