"""GLIDE behind the seam of every other model."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from diffusers import DDPMScheduler
from transformers import GPT2Tokenizer, PreTrainedTokenizerBase
from typing_extensions import override

from stages.models.generator import PROMPTS_KEPT
from stages.models.glide.files import load_networks, load_tokenizer
from stages.models.glide.network import Glide
from stages.models.glide.text import Text
from stages.models.pixel_text import TwoStage, square
from stages.models.placement import Placement
from stages.models.schedules import Scheduler
from stages.models.second_stage import SecondStage
from stages.sampling.loop import Condition
from stages.tensors import Latents, Output, Time


@dataclass(frozen=True)
class GlidePipe:
    """What a pipeline of diffusers would hold."""

    networks: Mapping[str, Glide]
    tokenizer: GPT2Tokenizer
    scheduler: Scheduler
    vae_scale_factor: int = 1


def open_pipe(folder: Path, placement: Placement) -> GlidePipe:
    """Return the networks of a folder on their device, and how the base model was trained to be sampled."""
    networks = load_networks(folder)
    for network in networks.values():
        network.to(*placement).requires_grad_(requires_grad=False)
    return GlidePipe(networks, load_tokenizer(folder), trained("squaredcos_cap_v2"))


def trained(betas: str) -> DDPMScheduler:
    """Return how a network of GLIDE was trained; with `linspace`, n steps are its respacing "n"."""
    return DDPMScheduler(
        beta_schedule=betas, variance_type="learned_range", clip_sample=True, timestep_spacing="linspace"
    )


class GlideGenerator(TwoStage):
    """GLIDE: published with 100 ancestral steps and guidance 3; the second stage with `fast27` and no guidance."""

    @override
    def __init__(self, pipe: GlidePipe, placement: Placement) -> None:
        super().__init__(pipe, placement)
        self.base = pipe.networks["base"]
        if "upsampler" in pipe.networks:
            self.second = GlideSecondStage(pipe.networks["upsampler"], pipe.tokenizer, placement)

    @override
    def predict(self, x: Latents, t: Time, condition: Condition) -> Output:
        return answer(self.base, x.to(self.dtype), t, condition)

    @override
    @torch.inference_mode()
    def _encode(self, prompt: str | None) -> Condition:
        return encoded(self.base, self.pipe.tokenizer, prompt, self.device)

    @override
    def truncated(self, prompt: str) -> str | None:
        return super().truncated(prompt.lower())

    @override
    def tokenizers(self) -> list[tuple[PreTrainedTokenizerBase, int]]:
        return [(self.pipe.tokenizer, self.base.options.context)]

    @override
    def latent_shape(self, size_px: int | None) -> tuple[int, int, int]:
        side = size_px or self.base.options.side_px
        return (3, *square(side, len(self.base.options.multipliers)))


class GlideSecondStage(SecondStage):
    """GLIDE's upsampler, with a text transformer of its own."""

    def __init__(self, network: Glide, tokenizer: GPT2Tokenizer, placement: Placement) -> None:
        super().__init__(trained("linear"), placement, network.options.side_px)
        self.network, self.tokenizer = network, tokenizer
        self.kept = lru_cache(maxsize=PROMPTS_KEPT)(self._encode)

    @override
    def encode(self, prompt: str | None) -> Condition:
        return self.kept(prompt)

    @torch.inference_mode()
    def _encode(self, prompt: str | None) -> Condition:
        return encoded(self.network, self.tokenizer, prompt, self.device)

    @override
    def predict(self, x: Latents, t: Time, condition: Condition) -> Output:
        both = torch.cat([x, condition["small"]], dim=1)
        return answer(self.network, both.to(self.dtype), t, condition)


def encoded(network: Glide, tokenizer: GPT2Tokenizer, prompt: str | None, device: torch.device) -> Condition:
    """Return what a network is told of a prompt: in lower case, filled up with padding; no prompt is padding alone."""
    context = network.options.context
    ids = tokenizer(prompt.lower(), verbose=False).input_ids[:context] if prompt else []
    padding = network.options.vocabulary - 1
    tokens = torch.tensor([ids + [padding] * (context - len(ids))], device=device)
    real = (torch.arange(context, device=device) < len(ids))[None]
    text = network.text(tokens, real)
    return {"text": text.tokens, "summary": text.summary}


def answer(network: Glide, x: Latents, t: Time, condition: Condition) -> Output:
    """Return epsilon and v in single precision."""
    output: Output = network(x, t, Text(condition["text"], condition["summary"]))
    return output.float()
