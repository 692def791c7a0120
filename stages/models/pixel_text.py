"""Text-to-image models over pixels: the embedded ones in a format of ours, and DeepFloyd IF."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DiffusionPipeline, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer, PreTrainedTokenizerBase
from typing_extensions import override

from stages.models.generator import Pipe, Stepwise, from_centred
from stages.models.placement import Placement
from stages.models.second_stage import SecondStage, UNetSecondStage
from stages.models.token_space import TokenSpace
from stages.sampling.loop import Condition, Noise
from stages.sampling.spec import SamplerSpec
from stages.tensors import Latents, Output, Pixels, Time

FLOYD_TOKENS = 77
"""What DeepFloyd IF lets T5 read."""


class PixelTextPipeline(DiffusionPipeline):  # type: ignore[misc]  # diffusers is not typed
    """The parts of a pixel text-to-image model as a folder of diffusers, whose `model_index.json` names this class.

    diffusers has none for a CLIP text encoder without an autoencoder. Pixels are in [-1, 1]. The upsampler, if there is
    one, sees its state and, in as many channels again, the small picture.
    """

    _optional_components: ClassVar = ["upsampler", "upsampler_scheduler"]
    vae_scale_factor = 1

    def __init__(
        self,
        unet: UNet2DConditionModel,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        scheduler: DDIMScheduler | DDPMScheduler,
        upsampler: UNet2DConditionModel | None = None,
        upsampler_scheduler: DDPMScheduler | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            unet=unet,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            scheduler=scheduler,
            upsampler=upsampler,
            upsampler_scheduler=upsampler_scheduler,
        )


class TwoStage(Stepwise):
    """A model over pixels, and its second stage where it has one."""

    second: SecondStage | None = None

    @override
    def check_upsampling(self, sampler: SamplerSpec) -> None:
        if sampler.upsampling is None:
            return
        if self.second is None:
            raise ValueError("sampler: this model has no second stage; leave upsampling out")
        if sampler.size_px is not None:
            raise ValueError(f"sampler: the second stage has one size, {self.second.side_px}; leave size_px out")
        self.second.check(sampler.upsampling)

    @override
    def finish(self, clean: Latents, prompts: Sequence[str], sampler: SamplerSpec, noise: Noise) -> Pixels:
        if sampler.upsampling is None or self.second is None:
            return self.decode(clean)
        return self.decode(self.second.enlarge(clean, prompts, sampler.upsampling, noise))

    @override
    def decode(self, latents: Latents) -> Pixels:
        return from_centred(latents)

    @override
    def side_px(self, sampler: SamplerSpec) -> int:
        return self.latent_shape(sampler.size_px)[1]


def square(side: int, levels: int) -> tuple[int, int]:
    """Return the height and width of a U-Net's pictures, once each of its levels can halve them."""
    if side % (multiple := 2 ** (levels - 1)):
        raise ValueError(f"sampler: size_px of this model must be a multiple of {multiple}, but is {side}")
    return side, side


class PixelText(TwoStage):
    """A U-Net of diffusers over pixels, conditioned on what a text encoder says of every token."""

    @override
    def __init__(self, pipe: Pipe, placement: Placement) -> None:
        super().__init__(pipe, placement)
        if getattr(pipe, "upsampler", None) is not None:
            self.second = UNetSecondStage(pipe.upsampler, pipe.upsampler_scheduler, placement, self.encode)

    @override
    def predict(self, x: Latents, t: Time, condition: Condition) -> Output:
        text = condition["text"]
        output: Tensor = self.pipe.unet(x.to(self.dtype), t, encoder_hidden_states=text, return_dict=False)[0]
        return output.float()

    @override
    @torch.inference_mode()
    def _encode(self, prompt: str | None) -> Condition:
        tokens = self.pipe.tokenizer(prompt or "", padding="max_length", truncation=True, return_tensors="pt")
        text = self.pipe.text_encoder(tokens.input_ids.to(self.device))[0]
        return {"text": text.to(self.dtype)}

    @override
    def token_space(self) -> TokenSpace:
        return TokenSpace(self.pipe.tokenizer, self.pipe.text_encoder)

    @override
    def latent_shape(self, size_px: int | None) -> tuple[int, int, int]:
        config = self.pipe.unet.config
        return (config.in_channels, *square(size_px or config.sample_size, len(config.block_out_channels)))


class DeepFloyd(PixelText):
    """DeepFloyd IF, first stage: T5's states of a prompt, in lower case and otherwise as it is.

    diffusers' own call also deletes addresses, e-mails and the like from prompts.
    """

    @override
    @torch.inference_mode()
    def _encode(self, prompt: str | None) -> Condition:
        text, _ = self.pipe.encode_prompt(prompt or "", do_classifier_free_guidance=False, device=self.device)
        return {"text": text.to(self.dtype)}

    @override
    def token_space(self) -> TokenSpace:
        return super(PixelText, self).token_space()  # T5 is no CLIP

    @override
    def tokenizers(self) -> list[tuple[PreTrainedTokenizerBase, int]]:
        return [(self.pipe.tokenizer, FLOYD_TOKENS)]
