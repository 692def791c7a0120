"""What the text-conditioned diffusion models of the zoo have in common: captions, noise, loss, halves of a batch."""

from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from jaxtyping import Float, Int64
from pydantic import Field, model_validator
from torch import Tensor
from transformers import CLIPTokenizer

from stages.base import Spec
from tuning.training.zoo import clip
from tuning.training.zoo.data import Grammar, indices
from tuning.training.zoo.loop import LoopSpec, Recipe, generator
from tuning.training.zoo.prompts import Prompts, ScenePrompts, ThingPrompts, caption_table
from tuning.training.zoo.variational import VariationalBound

Batch: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]
BETAS: dict[str, dict[str, str | float | int]] = {
    # Stable Diffusion's
    "scaled_linear": {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1},
    "linear": {"beta_schedule": "linear"},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
}


class CaptionedSpec(Spec):
    """How a U-Net with cross-attention is trained on renders and their captions."""

    channels: tuple[int, ...]
    heads: int = 4
    grammar: Grammar = "thing"
    images: int = Field(default=150_000, ge=1, description="Size of the training set: the first indices of the world.")
    no_words: float = Field(default=0.1, ge=0, le=1, description="Share of empty captions, for guidance.")
    no_colour: float = Field(default=0.1, ge=0, le=1, description="Share of captions of things without their colour.")
    snr_limit: float = Field(default=5.0, gt=0, description="Min-SNR weighting, Hang et al. 2023 (arXiv:2303.09556).")
    variance: Literal["fixed", "learned_range"] = Field(
        "fixed",
        exclude_if=lambda value: value == "fixed",  # the settings of models without these fields stay as they were
        description="Whether the network also learns its variance, between those of its two bounds.",
    )
    predicts: Literal["epsilon", "v_prediction"] = Field(
        "epsilon",
        exclude_if=lambda value: value == "epsilon",
        description="What the network answers: the noise, or v (Salimans & Ho 2022, arXiv:2202.00512, appendix D).",
    )
    terminal_snr: Literal["scheduled", "zero"] = Field(
        "scheduled",
        exclude_if=lambda value: value == "scheduled",
        description="'zero' rescales the noise schedule to end in pure noise (Lin et al. 2023, arXiv:2305.08891).",
    )
    vlb_weight: float = Field(
        0.001, gt=0, exclude_if=lambda value: value == 0.001, description="Lambda of the variational bound."
    )
    loop: LoopSpec

    @model_validator(mode="after")
    def _pure_noise_needs_v(self) -> "CaptionedSpec":
        if self.terminal_snr == "zero" and (self.predicts, self.variance) != ("v_prediction", "fixed"):
            raise ValueError(
                "terminal_snr='zero': expected predicts='v_prediction' and variance='fixed', since at the last step "
                f"epsilon and the bound say nothing of the picture; found {self.predicts!r} and {self.variance!r}"
            )
        return self


S = TypeVar("S", bound=CaptionedSpec)


class CaptionedDiffusion(Recipe[S, UNet2DConditionModel]):
    """Predict the noise, or v (Ho et al. 2020, arXiv:2006.11239, Alg. 1), at time steps spread evenly over the batch.

    A learned variance adds the variational bound: Nichol & Dhariwal 2021 (arXiv:2102.09672), Eq. 16.
    """

    device: str
    scheduler: DDIMScheduler | DDPMScheduler
    discrete: bool
    """Whether what is drawn are pixels of 256 values."""

    def _prepare(self, clip_folder: Path, shape: tuple[int, int, int]) -> None:
        """Make the untrained network, for clean pictures of this shape."""
        spec = self.spec
        self.clip, self.prompts = clip_folder, prompts(spec, clip_folder, self.device)
        self.signal = self.scheduler.alphas_cumprod
        self.bound = VariationalBound(self.signal, discrete=self.discrete)
        self.pool = ThreadPoolExecutor(2)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.loop.seed)
            module = self.network(shape, self.prompts.width)
            self.module = module.to(self.device, memory_format=torch.channels_last)

    @abstractmethod
    def network(self, shape: tuple[int, int, int], width: int) -> UNet2DConditionModel:
        """Return the untrained network for texts of this width."""

    @abstractmethod
    def clean(self, index: Int64[np.ndarray, " b"]) -> Float[Tensor, "b c h w"]:
        """Return what the network learns to draw of each render."""

    def beside(self, clean: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b c h w"]]:  # noqa: ARG002
        """Return what else the network sees, as further channels."""
        return []

    def loss(self, step: int) -> Tensor:
        """Return the loss of one step."""
        return self._error(self._batch(step))

    def backward(self, step: int) -> float:
        """Add the gradients of two halves of the batch, side by side in two threads; on one thread, of the whole.

        On two cores this is faster than two threads inside every operation, which wait for each other a thousand times
        a step. The sum of two numbers has no order, so the result is still exact.
        """
        if torch.get_num_threads() == 1:
            return super().backward(step)
        halves = zip(*(part.chunk(2) for part in self._batch(step)), strict=True)

        def half(parts: Batch) -> float:
            loss = self._error(parts) / 2
            torch.autograd.backward(loss)
            return loss.item()

        return sum(self.pool.map(half, halves))

    def _batch(self, step: int) -> Batch:
        """Return the step's clean pictures, noise, time steps and captions."""
        spec, random = self.spec, generator(self.spec.loop.seed, "diffusion", step)
        index = indices(step, spec.loop.batch, spec.images)
        clean = self.clean(index)
        noise = torch.randn(clean.shape, generator=random)
        time = self._times(random)
        return clean, noise, time, self.prompts(index, random)

    def _error(self, batch: Batch) -> Tensor:
        """Return the weighted error of the prediction, and the bits of a learned variance."""
        clean, noise, time, caption = (part.to(self.device) for part in batch)
        signal = self.signal.to(self.device)[time][:, None, None, None]
        noisy = signal.sqrt() * clean + (1 - signal).sqrt() * noise
        seen = torch.cat([noisy, *self.beside(clean)], dim=1).contiguous(memory_format=torch.channels_last)
        output = self.module(seen, time, self.prompts.states(caption)).sample
        return self.hybrid(output, clean, noise, time)

    def hybrid(self, output: Tensor, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """Return L_simple, and with a learned variance L_simple + lambda L_vlb, of the network's output."""
        predicted, variance = output.split(clean.shape[1], dim=1) if self.learns else (output, None)
        signal = self.signal.to(self.device)[time][:, None, None, None]
        target, weight = self._target(clean, noise, signal)
        simple = (weight * (predicted - target) ** 2).mean()
        if variance is None:
            return simple
        if self.spec.predicts == "v_prediction":
            noisy = signal.sqrt() * clean + (1 - signal).sqrt() * noise
            predicted = signal.sqrt() * predicted + (1 - signal).sqrt() * noisy
        share = self.spec.vlb_weight * len(self.signal)
        return simple + share * self.bound.bits(predicted, variance, noise, clean, time).mean()

    def _target(self, clean: Tensor, noise: Tensor, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the network should have answered, and the weight of its error."""
        ratio = signal / (1 - signal)
        capped = ratio.clamp(max=self.spec.snr_limit)
        if self.spec.predicts == "epsilon":
            return noise, capped / ratio
        # one more in both than Hang et al. have for v, so that a step of pure noise counts too
        return signal.sqrt() * noise - (1 - signal).sqrt() * clean, (capped + 1) / (ratio + 1)

    @property
    def learns(self) -> bool:
        """Whether the network learns its variance."""
        return self.spec.variance == "learned_range"

    def _times(self, random: torch.Generator) -> Int64[Tensor, " b"]:
        """One time step from each of b equal stretches of the schedule."""
        batch, steps = self.spec.loop.batch, len(self.signal)
        times = (torch.arange(batch) + torch.rand(batch, generator=random)) * steps / batch
        return times.long().clamp(max=steps - 1)[torch.randperm(batch, generator=random)]


def prompts(spec: CaptionedSpec, clip_folder: Path, device: str) -> Prompts:
    """Return what a model of these settings is told, in the words of a CLIP's text tower."""
    if spec.grammar == "scene":
        return ScenePrompts(clip_folder, spec.no_words, device)
    table = caption_table(CLIPTokenizer.from_pretrained(clip_folder), clip.text_model(clip_folder))
    return ThingPrompts(table.to(device), spec.no_words, spec.no_colour)


def unet(
    spec: CaptionedSpec, shape: tuple[int, int, int], inputs: int, width: int, deepest: int
) -> UNet2DConditionModel:
    """Return an untrained U-Net with cross-attention on its `deepest` levels."""
    channels, side, _ = shape
    plain = len(spec.channels) - deepest
    return UNet2DConditionModel(
        sample_size=side,
        in_channels=inputs,
        out_channels=channels * (2 if spec.variance == "learned_range" else 1),
        block_out_channels=spec.channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * plain + ("CrossAttnDownBlock2D",) * deepest,
        up_block_types=("CrossAttnUpBlock2D",) * deepest + ("UpBlock2D",) * plain,
        cross_attention_dim=width,
        attention_head_dim=spec.heads,  # diffusers' name for the number of heads
        norm_num_groups=8,
    )


def schedule(spec: CaptionedSpec, betas: str, *, pixels: bool) -> DDIMScheduler | DDPMScheduler:
    """Return how a model is trained and, unless told otherwise, sampled: DDIM, or ancestral with a learned variance.

    Pixels are clipped, and with GLIDE's schedule visited from the last training step, as GLIDE does. Latents are not:
    nothing bounds their clean prediction, and of the signal 5e-5 is left there. Where nothing at all is left of it, the
    last training step is visited too: trained there, the network starts from what it knows.
    """
    settings = BETAS[betas] | {"clip_sample": pixels, "prediction_type": spec.predicts}
    if pixels and betas == "cosine":
        settings["timestep_spacing"] = "linspace"
    if spec.terminal_snr == "zero":
        settings |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    if spec.variance == "learned_range":
        return DDPMScheduler(**settings, variance_type=spec.variance)
    return DDIMScheduler(**settings, set_alpha_to_one=betas != "scaled_linear")
