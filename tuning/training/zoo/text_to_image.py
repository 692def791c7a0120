"""The latent text-to-image model, in Stable Diffusion's own format and with its noise schedule."""

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from jaxtyping import Float, Int64
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTokenizer

from stages.base import Spec
from stages.models.zoo import checksum, world
from tuning.training.zoo import clip
from tuning.training.zoo.data import indices, pictures
from tuning.training.zoo.loop import LoopSpec, Recipe, generator

GREY, EMPTY = len(world.COLOURS), -1
"""Columns and row of the table of captions for `no colour` and for `no words`."""

Batch: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]


class TextToImageSpec(Spec):
    """A small U-Net on the autoencoder's latents, conditioned on the CLIP's text tower."""

    kind: Literal["text_to_image"] = "text_to_image"
    channels: tuple[int, ...] = (32, 64, 128)
    heads: int = 4
    images: int = Field(default=150_000, ge=1, description="Size of the training set: the first indices of the world.")
    no_words: float = Field(default=0.1, ge=0, le=1, description="Share of empty captions, for guidance.")
    no_colour: float = Field(default=0.1, ge=0, le=1, description="Share of captions that do not name the colour.")
    snr_limit: float = Field(default=5.0, gt=0, description="Min-SNR weighting, Hang et al. 2023 (arXiv:2303.09556).")
    loop: LoopSpec


class TextToImageRecipe(Recipe[TextToImageSpec, UNet2DConditionModel]):
    """Predict the noise (Ho et al. 2020, arXiv:2006.11239, Alg. 1) at time steps spread evenly over the batch."""

    def __init__(self, spec: TextToImageSpec, work: Path, parts: tuple[Path, Path], device: str = "cpu") -> None:
        self.spec, self.device = spec, device
        vae, self.clip = parts
        self.vae = AutoencoderKL.from_pretrained(vae)
        version = checksum(vae / "diffusion_pytorch_model.safetensors")[:12]
        self.latents = cached_latents(self.vae, spec.images, work / f"latents-{version}.safetensors", device)
        self.text = caption_table(self.clip).to(device)
        self.signal = schedule().alphas_cumprod
        self.pool = ThreadPoolExecutor(2)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.loop.seed)
            self.module = unet(spec, width=self.text.shape[-1]).to(device, memory_format=torch.channels_last)

    def loss(self, step: int) -> Tensor:
        """Return the loss of one step."""
        return self._error(self._batch(step))

    def backward(self, step: int) -> float:
        """Add the gradients of two halves of the batch, side by side in two threads.

        On two cores this is faster than two threads inside every operation, which wait for each other a thousand times
        a step. The sum of two numbers has no order, so the result is still exact.
        """
        halves = zip(*(part.chunk(2) for part in self._batch(step)), strict=True)

        def half(parts: Batch) -> float:
            loss = self._error(parts) / 2
            torch.autograd.backward(loss)
            return loss.item()

        return sum(self.pool.map(half, halves))

    def _batch(self, step: int) -> Batch:
        """Return the step's noisy latents, noise, time steps and captions."""
        spec, random = self.spec, generator(self.spec.loop.seed, "diffusion", step)
        index = indices(step, spec.loop.batch, spec.images)
        latents = self.latents[torch.from_numpy(index)].float()
        noise = torch.randn(latents.shape, generator=random)
        time = self._times(random)
        signal = self.signal[time][:, None, None, None]
        noisy = signal.sqrt() * latents + (1 - signal).sqrt() * noise
        return noisy, noise, time, self._captions(index, random)

    def _error(self, batch: Batch) -> Tensor:
        """Return the weighted error of the predicted noise."""
        noisy, noise, time, caption = (part.to(self.device) for part in batch)
        predicted = self.module(noisy.contiguous(memory_format=torch.channels_last), time, self.text[caption]).sample
        ratio = (self.signal / (1 - self.signal)).to(self.device)[time][:, None, None, None]
        weight = ratio.clamp(max=self.spec.snr_limit) / ratio
        return (weight * (predicted - noise) ** 2).mean()

    def save(self, module: UNet2DConditionModel, folder: Path) -> None:
        """Write the folder that `StableDiffusionPipeline.from_pretrained` loads."""
        StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=clip.text_model(self.clip),
            tokenizer=CLIPTokenizer.from_pretrained(self.clip),
            unet=module,
            scheduler=schedule(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(folder)

    def _times(self, random: torch.Generator) -> Int64[Tensor, " b"]:
        """One time step from each of b equal stretches of the schedule."""
        batch, steps = self.spec.loop.batch, len(self.signal)
        times = (torch.arange(batch) + torch.rand(batch, generator=random)) * steps / batch
        return times.long().clamp(max=steps - 1)[torch.randperm(batch, generator=random)]

    def _captions(self, index: Int64[np.ndarray, " b"], random: torch.Generator) -> Int64[Tensor, " b"]:
        """Return each render's row in the table of captions, some without colour and some without words."""
        chance = torch.rand(len(index), generator=random)
        label, colour = torch.from_numpy(world.labels(index)), torch.from_numpy(world.colours(index))
        plain = (chance >= self.spec.no_words) & (chance < self.spec.no_words + self.spec.no_colour)
        row = label * (GREY + 1) + torch.where(plain, GREY, colour)
        return torch.where(chance < self.spec.no_words, len(self.text) + EMPTY, row)


def unet(spec: TextToImageSpec, width: int) -> UNet2DConditionModel:
    """Return an untrained U-Net with cross-attention below its first level."""
    deeper = len(spec.channels) - 1
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=spec.channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * deeper),
        up_block_types=(*("CrossAttnUpBlock2D",) * deeper, "UpBlock2D"),
        cross_attention_dim=width,
        attention_head_dim=spec.heads,  # diffusers' name for the number of heads
        norm_num_groups=8,
    )


def schedule() -> DDIMScheduler:
    """Return Stable Diffusion's noise schedule."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


@torch.no_grad()
def cached_latents(vae: AutoencoderKL, images: int, cache: Path, device: str = "cpu") -> Float[Tensor, "n 4 16 16"]:
    """Return the latents of the first `images` renders in half precision, from the cache if it has them."""
    if cache.exists() and len(latents := load_file(cache)["latents"]) == images:
        return latents
    # half precision is twice as fast, and its error, 0.004, is a tenth of the posterior's own width
    fast = nn.Module.to(deepcopy(vae), device, torch.bfloat16)  # diffusers' own `to` warns for no reason
    parts = []
    for start in range(0, images, 64):
        x = pictures(np.arange(start, min(start + 64, images))) * 2 - 1
        parts.append(fast.encode(x.to(device, torch.bfloat16)).latent_dist.mean.half().cpu())
    latents = torch.cat(parts)
    cache.parent.mkdir(parents=True, exist_ok=True)
    save_file({"latents": latents}, cache)
    return latents


@torch.no_grad()
def caption_table(folder: Path) -> Float[Tensor, "caption t d"]:
    """Return the text tower's states of every caption: classes by (colours, then no colour), and last the empty one."""
    texts = [world.caption(thing, colour) for thing in world.CLASSES for colour in (*world.COLOURS, "")]
    ids = clip.tokenize(CLIPTokenizer.from_pretrained(folder), [*texts, ""])
    states: Tensor = clip.text_model(folder)(ids).last_hidden_state
    return states
