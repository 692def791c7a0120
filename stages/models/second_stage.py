"""The second stage of a pixel model: a diffusion model of its own, which sees the small picture beside its state."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from stages.models.generator import Pipe
from stages.models.placement import Placement
from stages.models.schedules import Scheduler, StepArguments, choose, learns_variance, schedule
from stages.randomness import rng
from stages.sampling.loop import Condition, Noise, guided, mean_only, sample
from stages.sampling.respacing import fast27
from stages.sampling.spec import SamplerSpec
from stages.sampling.upsampling import Upsampling
from stages.tensors import Latents, Output, Time

Large: TypeAlias = Float[Tensor, "b c side side"]

GLIDES = Upsampling(scheduler="ddim", steps="fast27", guidance=1.0, temperature=0.997)
"""How GLIDE's upsampler was published: Nichol et al. 2021 (arXiv:2112.10741) and its notebook."""


class SecondStage(ABC):
    """What enlarges the pictures of a first stage. Its noise comes from the row's seed and is never perturbed."""

    own: ClassVar[Upsampling] = GLIDES

    def __init__(self, scheduler: Scheduler, placement: Placement, side_px: int) -> None:
        self.scheduler, self.side_px = scheduler, side_px
        self.device, self.dtype = placement

    @abstractmethod
    def encode(self, prompt: str | None) -> Condition:
        """Return what a prompt conditions this stage on, null for no prompt; one row."""

    @abstractmethod
    def predict(self, x: Latents, t: Time, condition: Condition) -> Output:
        """Return epsilon and the learned variance; the small picture is in `condition`."""

    def see(self, small: Latents, options: Upsampling, noise: Noise) -> Condition:  # noqa: ARG002
        """Return how this stage sees the small pictures: as they would be saved, enlarged bilinearly."""
        saved = ((small.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
        return {"small": functional.interpolate(saved, self.side_px, mode="bilinear", align_corners=False)}

    def check(self, upsampling: Upsampling) -> None:
        """Refuse settings that this stage cannot run with."""
        if upsampling.noise_level is not None and self.own.noise_level is None:
            raise ValueError("upsampling: only DeepFloyd IF adds noise to the small picture; leave noise_level out")
        choose(self.scheduler, sampler_of(upsampling.over(self.own)))

    def enlarge(self, small: Latents, prompts: Sequence[str], upsampling: Upsampling, noise: Noise) -> Large:
        """Return the large pictures in [-1, 1], not yet clipped."""
        options, own = upsampling.over(self.own), own_noise(noise)
        sampler = sampler_of(options)
        shape = (small.shape[1], self.side_px, self.side_px)
        drawn = torch.stack([torch.randn(shape, generator=one) for one in own])
        x = (drawn * (options.temperature or 0.0)).to(self.device)
        seen = self.see(small, options, own)
        steps = schedule(self.scheduler, sampler, arguments_of(options, self.scheduler), self.device)
        conditional, unconditional = (self._condition(texts, seen) for texts in (prompts, [None] * len(prompts)))
        predict = guided(self, conditional, unconditional, sampler.guidance)
        if not learns_variance(choose(self.scheduler, sampler)):
            predict = mean_only(predict)
        return sample(steps, predict, x, own)

    def _condition(self, prompts: Sequence[str | None], seen: Condition) -> Condition:
        rows = [self.encode(prompt) for prompt in prompts]
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]} | seen


class UNetSecondStage(SecondStage):
    """A U-Net of diffusers whose last channels in are the small picture, with the text encoder of the first stage."""

    def __init__(
        self, unet: Pipe, scheduler: Scheduler, placement: Placement, encode: Callable[[str | None], Condition]
    ) -> None:
        super().__init__(scheduler, placement, unet.config.sample_size)
        self.unet, self.text = unet, encode

    @override
    def encode(self, prompt: str | None) -> Condition:
        return self.text(prompt)

    @override
    def predict(self, x: Latents, t: Time, condition: Condition) -> Output:
        both = torch.cat([x, condition["small"]], dim=1)
        output: Tensor = self.unet(
            both.to(self.dtype),
            t,
            encoder_hidden_states=condition["text"],
            class_labels=condition.get("level"),
            return_dict=False,
        )[0]
        return output.float()


class FloydSecondStage(UNetSecondStage):
    """DeepFloyd IF's second stage: it sees the small picture under noise, and is told how much."""

    own = Upsampling(scheduler="ddpm", steps=50, guidance=4.0, temperature=1.0, noise_level=250)

    def __init__(self, pipe: Pipe, placement: Placement, encode: Callable[[str | None], Condition]) -> None:
        super().__init__(pipe.unet, pipe.scheduler, placement, encode)
        self.noising: Scheduler = pipe.image_noising_scheduler

    @override
    def see(self, small: Latents, options: Upsampling, noise: Noise) -> Condition:
        large = functional.interpolate(small, self.side_px, mode="bilinear", align_corners=True)
        level = torch.full([len(small)], options.noise_level or 0, device=large.device)
        drawn = torch.stack([torch.randn(large.shape[1:], generator=one) for one in noise])
        return {"small": self.noising.add_noise(large, drawn.to(large), level), "level": level}


def own_noise(noise: Noise) -> list[torch.Generator]:
    """Return generators for a second stage: of the same rows, whatever the first stage has drawn."""
    seeds = [int(rng(one.initial_seed(), "second stage").integers(2**63)) for one in noise]
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def sampler_of(options: Upsampling) -> SamplerSpec:
    """Return the sampler of a second stage whose settings are complete."""
    steps = 27 if options.steps == "fast27" else options.steps
    return SamplerSpec.model_validate({"scheduler": options.scheduler, "steps": steps, "guidance": options.guidance})


def arguments_of(options: Upsampling, own: Scheduler) -> StepArguments:
    """Return the arguments of `set_timesteps`."""
    if options.steps == "fast27":
        return {"timesteps": fast27(own.config.num_train_timesteps)}
    return {"num_inference_steps": int(options.steps or 0)}
