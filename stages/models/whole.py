"""Any other text-to-image pipeline of diffusers, through its own `__call__`."""

import inspect
from collections.abc import Sequence

import torch
from typing_extensions import override

from stages.models.generator import Generator, Pipe
from stages.models.placement import Placement
from stages.models.schedules import choose, kind
from stages.sampling.loop import Noise
from stages.sampling.spec import SamplerSpec
from stages.tensors import Latents, Pixels

NEEDED = {"prompt", "latents", "generator", "num_inference_steps", "guidance_scale", "output_type"}


class WholePipeline(Generator):
    """A pipeline that runs its own loop: `guidance` is its `guidance_scale`, and text is encoded for every batch.

    It must take `latents` of unit variance, as its denoiser's configuration shapes them.
    """

    @override
    def __init__(self, pipe: Pipe, placement: Placement) -> None:
        super().__init__(pipe, placement)
        self.accepted = inspect.signature(pipe.__call__).parameters
        if missing := sorted(NEEDED - set(self.accepted)):
            raise ValueError(
                f"model: {type(pipe).__name__} cannot draw from a given latent, since its __call__ lacks {missing}; "
                "use a text-to-image pipeline that takes them"
            )

    @override
    def check(self, sampler: SamplerSpec) -> None:
        super().check(sampler)
        if sampler.epsilon_scaling:
            raise ValueError(f"sampler: {type(self.pipe).__name__} runs its own loop, which scales no epsilon")
        if sampler.scheduler == "heun" and kind(self.pipe.scheduler) == "edm":
            name = type(self.pipe).__name__
            raise ValueError(f"sampler: {name} runs its own loop, which knows no 'heun' for EDM; use 'edm_dpmpp'")

    @override
    def latent_shape(self, size_px: int | None) -> tuple[int, int, int]:
        network = getattr(self.pipe, "unet", None) or self.pipe.transformer
        own = network.config.sample_size
        side = size_px // self.pipe.vae_scale_factor if size_px else own
        return network.config.in_channels, side, side

    @override
    @torch.inference_mode()
    def draw(self, latents: Latents, prompts: Sequence[str], sampler: SamplerSpec, noise: Noise) -> Pixels:
        own = self.pipe.scheduler
        self.pipe.scheduler = choose(own, sampler)
        try:
            pictures = self.pipe(prompt=list(prompts), **self._options(latents, sampler, noise)).images
        finally:
            self.pipe.scheduler = own
        return torch.as_tensor(pictures)

    def _options(self, latents: Latents, sampler: SamplerSpec, noise: Noise) -> dict[str, object]:
        size = [side * self.pipe.vae_scale_factor for side in latents.shape[-2:]]
        optional = {"eta": sampler.eta, "height": size[0], "width": size[1], "use_resolution_binning": False}
        return {name: value for name, value in optional.items() if name in self.accepted} | {
            "num_inference_steps": sampler.steps,
            "guidance_scale": sampler.guidance,
            "latents": latents.to(self.device, self.dtype),
            "generator": list(noise),
            "output_type": "np",
        }
