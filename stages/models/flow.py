"""Flow matching with a transformer: Stable Diffusion 3 and FLUX.1."""

import numpy as np
import torch
from diffusers.configuration_utils import FrozenDict
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from stages.models.generator import Stepwise
from stages.models.schedules import StepArguments
from stages.sampling.loop import Condition
from stages.sampling.spec import SamplerSpec
from stages.tensors import Latents, Time

T5_TOKENS_SD3 = 256
T5_TOKENS_FLUX = 512
"""What the pipelines of diffusers let T5 read by default."""


def shift_exponent(tokens: int, config: FrozenDict, top: float) -> float:
    """Return mu, by which the noise levels shift towards the noisy end as pictures grow (`calculate_shift`)."""
    x = [config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)]
    y = [config.get("base_shift", 0.5), config.get("max_shift", top)]
    slope = (y[1] - y[0]) / (x[1] - x[0])
    return tokens * slope + (y[0] - slope * x[0])


class StableDiffusion3(Stepwise):
    """Stable Diffusion 3 and 3.5."""

    @override
    def predict(self, x: Latents, t: Time, condition: Condition) -> Latents:
        output: Tensor = self.pipe.transformer(
            hidden_states=x.to(self.dtype),
            timestep=t.expand(len(x)),
            encoder_hidden_states=condition["text"],
            pooled_projections=condition["pooled"],
            return_dict=False,
        )[0]
        return output.float()

    @override
    @torch.inference_mode()
    def _encode(self, prompt: str | None) -> Condition:
        text, _, pooled, _ = self.pipe.encode_prompt(
            *[prompt or ""] * 3,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=T5_TOKENS_SD3,
        )
        return {"text": text.to(self.dtype), "pooled": pooled.to(self.dtype)}

    @override
    def steps(self, sampler: SamplerSpec) -> StepArguments:
        arguments = super().steps(sampler)
        config = self.pipe.scheduler.config
        if not config.get("use_dynamic_shifting"):
            return arguments
        _, height, width = self.latent_shape(sampler.size_px)
        patch = self.pipe.transformer.config.patch_size
        return arguments | {"mu": shift_exponent((height // patch) * (width // patch), config, top=1.16)}

    @override
    def tokenizers(self) -> list[tuple[PreTrainedTokenizerBase, int]]:
        t5 = self.pipe.tokenizer_3
        return super().tokenizers() + ([(t5, T5_TOKENS_SD3)] if t5 is not None else [])


class Flux(Stepwise):
    """FLUX.1: latents are packed two by two into tokens, inside `predict` only.

    A model with a guidance input (dev) gets the scale there; one without (schnell) runs under classifier-free guidance
    against the empty prompt, which diffusers calls `true_cfg_scale`.
    """

    @override
    def latent_shape(self, size_px: int | None) -> tuple[int, int, int]:
        pixels = size_px or self.pipe.default_sample_size * self.pipe.vae_scale_factor
        side = self._side(pixels, 2 * self.pipe.vae_scale_factor) or 0
        return self.pipe.transformer.config.in_channels // 4, side, side

    @override
    def predict(self, x: Latents, t: Time, condition: Condition) -> Latents:
        rows, channels, height, width = x.shape
        packed = self.pipe._pack_latents(x.to(self.dtype), rows, channels, height, width)
        output: Tensor = self.pipe.transformer(
            hidden_states=packed,
            timestep=t.expand(rows).to(self.dtype) / 1000,
            guidance=condition.get("guidance"),
            pooled_projections=condition["pooled"],
            encoder_hidden_states=condition["text"],
            txt_ids=packed.new_zeros(condition["text"].shape[1], 3),
            img_ids=self.pipe._prepare_latent_image_ids(rows, height // 2, width // 2, self.device, self.dtype),
            return_dict=False,
        )[0]
        factor = self.pipe.vae_scale_factor
        unpacked: Tensor = self.pipe._unpack_latents(output, height * factor, width * factor, factor)
        return unpacked.float()

    @override
    @torch.inference_mode()
    def _encode(self, prompt: str | None) -> Condition:
        text, pooled, _ = self.pipe.encode_prompt(
            prompt or "", None, device=self.device, max_sequence_length=T5_TOKENS_FLUX
        )
        return {"text": text.to(self.dtype), "pooled": pooled.to(self.dtype)}

    @override
    def takes_guidance(self) -> bool:
        return bool(self.pipe.transformer.config.guidance_embeds)

    @override
    def settings(self, rows: int, sampler: SamplerSpec) -> Condition:
        if not self.takes_guidance():
            return {}
        return {"guidance": torch.full([rows], sampler.guidance, device=self.device)}

    @override
    def steps(self, sampler: SamplerSpec) -> StepArguments:
        _, height, width = self.latent_shape(sampler.size_px)
        config = self.pipe.scheduler.config
        arguments: StepArguments = {"mu": shift_exponent((height // 2) * (width // 2), config, top=1.15)}
        if config.get("use_flow_sigmas"):
            return arguments | {"num_inference_steps": sampler.steps}
        return arguments | {"sigmas": np.linspace(1.0, 1 / sampler.steps, sampler.steps).tolist()}

    @override
    def tokenizers(self) -> list[tuple[PreTrainedTokenizerBase, int]]:
        return [(self.pipe.tokenizer, self.pipe.tokenizer_max_length), (self.pipe.tokenizer_2, T5_TOKENS_FLUX)]
