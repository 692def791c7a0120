"""Latent diffusion with a U-Net: Stable Diffusion 1.x, 2.x, XL and their consistency-distilled students."""

from collections.abc import Mapping

import torch
from torch import Tensor
from typing_extensions import override

from stages.models.generator import Stepwise
from stages.models.token_space import TokenSpace
from stages.sampling.loop import Condition
from stages.sampling.spec import SamplerSpec
from stages.tensors import Latents, Output, Time


class StableDiffusion(Stepwise):
    """Stable Diffusion 1.x and 2.x (epsilon or v), twins with a learned variance, and latent consistency models."""

    @override
    def predict(self, x: Latents, t: Time, condition: Condition) -> Output:
        output: Tensor = self.pipe.unet(
            x.to(self.dtype),
            t,
            encoder_hidden_states=condition["text"],
            timestep_cond=condition.get("guidance"),
            added_cond_kwargs=self.added(condition),
            return_dict=False,
        )[0]
        return output.float()

    def added(self, condition: Condition) -> Mapping[str, Tensor] | None:  # noqa: ARG002
        """Return what the U-Net adds to its time embedding."""
        return None

    @override
    @torch.inference_mode()
    def _encode(self, prompt: str | None) -> Condition:
        text, _ = self.pipe.encode_prompt(prompt or "", self.device, 1, do_classifier_free_guidance=False)
        return {"text": text.to(self.dtype)}

    @override
    def token_space(self) -> TokenSpace:
        return TokenSpace(self.pipe.tokenizer, self.pipe.text_encoder)

    @override
    def takes_guidance(self) -> bool:
        return self.pipe.unet.config.time_cond_proj_dim is not None

    @override
    def settings(self, rows: int, sampler: SamplerSpec) -> Condition:
        if not self.takes_guidance():
            return {}
        # the scale of the paper (Meng et al. 2023, arXiv:2210.03142, Eq. 1) is one less than ours
        scale = torch.tensor([sampler.guidance - 1.0])
        width = self.pipe.unet.config.time_cond_proj_dim
        embedding = self.pipe.get_guidance_scale_embedding(scale, embedding_dim=width)
        return {"guidance": embedding.to(self.device, self.dtype).expand(rows, -1)}


class StableDiffusionXL(StableDiffusion):
    """Stable Diffusion XL: two text encoders, and the picture's size as an input."""

    @override
    def token_space(self) -> TokenSpace:
        return super(StableDiffusion, self).token_space()  # it also reads what both encoders pool

    @override
    def added(self, condition: Condition) -> Mapping[str, Tensor]:
        return {"text_embeds": condition["pooled"], "time_ids": condition["size"]}

    @override
    @torch.inference_mode()
    def _encode(self, prompt: str | None) -> Condition:
        text, _, pooled, _ = self.pipe.encode_prompt(prompt or "", None, self.device, 1, False)
        encoded = {"text": text.to(self.dtype), "pooled": pooled.to(self.dtype)}
        if prompt is None and self.pipe.config.force_zeros_for_empty_prompt:
            return {name: torch.zeros_like(value) for name, value in encoded.items()}
        return encoded

    @override
    def settings(self, rows: int, sampler: SamplerSpec) -> Condition:
        size = [side * self.pipe.vae_scale_factor for side in self.latent_shape(sampler.size_px)[1:]]
        original, corner, target = size, [0, 0], size
        ids = torch.tensor([original + corner + target], dtype=self.dtype, device=self.device)
        return super().settings(rows, sampler) | {"size": ids.expand(rows, -1)}
