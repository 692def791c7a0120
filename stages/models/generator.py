"""Generator: the one face of every model that draws."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from diffusers.configuration_utils import FrozenDict
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from stages.arrays import Latent
from stages.models.placement import Placement
from stages.models.preprocess import Picture
from stages.models.reuse import both_branches, reuse
from stages.models.schedules import StepArguments, choose, learns_variance, schedule
from stages.models.token_space import TokenSpace
from stages.randomness import rng
from stages.sampling.inverse import FollowedSchedule, Observation, observe, solve
from stages.sampling.loop import Condition, Noise, Observer, Prediction, guided, mean_only, sample, scaled, unguided
from stages.sampling.measurement import Measurement
from stages.sampling.prompts import Extended, Prompts
from stages.sampling.spec import SamplerSpec
from stages.sampling.variance import check_outputs
from stages.tensors import Latents, Output, Pixels, Time

Pipe: TypeAlias = Any
"""A pipeline of diffusers. Its parts are set at run time, so that no type describes them."""

PROMPTS_KEPT = 512
"""Encoded prompts that an actor keeps: 4 MB each for FLUX, 0.2 MB for Stable Diffusion 1.x."""


class Generator(ABC):
    """A model that draws: latents and prompts in, pictures out."""

    def __init__(self, pipe: Pipe, placement: Placement) -> None:
        self.pipe = pipe
        self.device, self.dtype = placement

    @abstractmethod
    def latent_shape(self, size_px: int | None) -> tuple[int, int, int]:
        """Return channels, height and width of the latent of a picture of `size_px`, null for the model's own size."""

    @abstractmethod
    def draw(self, latents: Latents, prompts: Sequence[str], sampler: SamplerSpec, noise: Noise) -> Pixels:
        """Return pictures in [0, 1], not yet clipped, from unit-variance latents and one noise generator per row."""

    def pictures(
        self, latents: Sequence[Latent], prompts: Sequence[str], seeds: Sequence[int], sampler: SamplerSpec
    ) -> list[Picture | None]:
        """Return a picture per row, 0 to 255; None where it is not finite. Per-step noise comes from the row's seed."""
        noise = [step_noise(seed) for seed in seeds]
        return to_pictures(self.draw(torch.from_numpy(np.stack(latents)), prompts, sampler, noise))

    def check(self, sampler: SamplerSpec) -> None:
        """Refuse a sampler that this model cannot run."""
        choose(self.pipe.scheduler, sampler)
        self.latent_shape(sampler.size_px)
        self.check_upsampling(sampler)

    def check_upsampling(self, sampler: SamplerSpec) -> None:
        """Refuse a second stage that this model does not have."""
        if sampler.upsampling:
            raise ValueError(f"sampler: {type(self.pipe).__name__} has no second stage; leave upsampling out")

    def check_recording(self) -> None:
        """Refuse to record trajectories that are not ours to watch."""
        raise ValueError(f"recording: {type(self.pipe).__name__} runs its own loop, which nobody watches; leave it out")

    def check_prompt(self, prompt: str) -> None:
        """Refuse a prompt that this model cannot draw."""
        if not prompt.strip():
            raise ValueError(f"the prompt must be a text, but is {prompt!r}")

    def check_measurement(self, sampler: SamplerSpec, seed: int) -> None:  # noqa: ARG002
        """Refuse a measurement that this model cannot follow from this seed."""
        if sampler.measurement:
            raise ValueError(f"sampler: {type(self.pipe).__name__} runs its own loop, which follows no measurement")

    def truncated(self, prompt: str) -> str | None:
        """Return the end of `prompt` that no text encoder of this model sees; None where one sees it all."""
        cuts = [_cut(prompt, tokenizer, limit) for tokenizer, limit in self.tokenizers()]
        return min(cuts, key=len, default="") or None

    def tokenizers(self) -> list[tuple[PreTrainedTokenizerBase, int]]:
        """Return each tokenizer with the number of tokens that its encoder reads."""
        present = [getattr(self.pipe, name, None) for name in ("tokenizer", "tokenizer_2")]
        return [(tokenizer, int(tokenizer.model_max_length)) for tokenizer in present if tokenizer is not None]


class Stepwise(Generator):
    """A generator whose steps our own loop takes: guidance, per-row noise, text encoded once per prompt.

    The state stays float32 between steps, whatever the model computes in; diffusers rounds it to the model's type.
    """

    @override
    def __init__(self, pipe: Pipe, placement: Placement) -> None:
        super().__init__(pipe, placement)
        if (unet := getattr(pipe, "unet", None)) is not None:
            variance, config = pipe.scheduler.config.get("variance_type"), unet.config
            check_outputs(type(pipe).__name__, config.in_channels, config.out_channels or config.in_channels, variance)
            reuse(unet)
        self.encode = lru_cache(maxsize=PROMPTS_KEPT)(self._encode)

    @abstractmethod
    def predict(self, x: Latents, t: Time, condition: Condition) -> Output:
        """Return epsilon, v or the flow, and a learned variance: whatever the model's scheduler expects."""

    def predict_branches(self, x: Latents, t: Time, both: Condition) -> tuple[Output, Output]:
        """Return `predict` of the same rows without and with their prompts, which `both` has in this order."""
        with both_branches():
            without, with_prompt = self.predict(torch.cat([x, x]), t, both).chunk(2)
        return without, with_prompt

    @abstractmethod
    def _encode(self, prompt: str | None) -> Condition:
        """Return what `prompt` conditions the model on, null for no prompt; one row.

        One prompt at a time: what it encodes to must not depend on its batch.
        """

    def takes_guidance(self) -> bool:
        """Return whether the network takes the guidance scale as an input."""
        return False

    def settings(self, rows: int, sampler: SamplerSpec) -> Condition:  # noqa: ARG002
        """Return what the network is told besides the prompt: sizes, the guidance scale."""
        return {}

    def steps(self, sampler: SamplerSpec) -> StepArguments:
        """Return the arguments of the scheduler's `set_timesteps`."""
        return {"num_inference_steps": sampler.steps}

    def condition(self, prompts: Sequence[str | None], sampler: SamplerSpec) -> Condition:
        """Return what a batch of prompts conditions the model on."""
        rows = [self.encode(prompt) for prompt in prompts]
        stacked = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
        return stacked | self.settings(len(prompts), sampler)

    def token_space(self) -> TokenSpace:
        """Return the input of the text encoder as vectors; raises ValueError where that is not all the model reads."""
        raise ValueError(
            f"token embeddings: expected a model whose one text encoder is CLIP's, found {type(self.pipe).__name__}"
        )

    @override
    @torch.inference_mode()
    def draw(self, latents: Latents, prompts: Sequence[str], sampler: SamplerSpec, noise: Noise) -> Pixels:
        if sampler.measurement:
            raise ValueError("draw: expected a sampler without measurement; use `pictures`, which knows the seeds")
        return self.finish(self.clean(latents, prompts, sampler, noise), prompts, sampler, noise)

    @torch.inference_mode()
    def clean(
        self,
        latents: Latents,
        prompts: Sequence[str],
        sampler: SamplerSpec,
        noise: Noise,
        observe: Observer | None = None,
    ) -> Latents:
        """Return the clean latents that the rows' trajectories end in."""
        steps = schedule(self.pipe.scheduler, sampler, self.steps(sampler), self.device)
        predict = self.prediction(prompts, sampler)
        return sample(steps, predict, latents.to(self.device, torch.float32), noise, observe)

    def finish(
        self,
        clean: Latents,
        prompts: Sequence[str],  # noqa: ARG002
        sampler: SamplerSpec,  # noqa: ARG002
        noise: Noise,  # noqa: ARG002
    ) -> Pixels:
        """Return the pictures of clean latents, in [0, 1] but not yet clipped."""
        return self.decode(clean)

    @override
    def pictures(
        self, latents: Sequence[Latent], prompts: Sequence[str], seeds: Sequence[int], sampler: SamplerSpec
    ) -> list[Picture | None]:
        if sampler.measurement is None:
            return super().pictures(latents, prompts, seeds, sampler)
        stacked = torch.from_numpy(np.stack(latents)).to(self.device)
        return to_pictures(self.restore(stacked, prompts, seeds, sampler, sampler.measurement))

    @torch.no_grad()
    def restore(
        self,
        latents: Latents,
        prompts: Sequence[str],
        seeds: Sequence[int],
        sampler: SamplerSpec,
        measurement: Measurement,
    ) -> Pixels:
        """Return the solutions, in [0, 1] but not yet clipped, of the rows' inverse problems."""
        steps = schedule(self.pipe.scheduler, sampler, self.steps(sampler), self.device)
        if not isinstance(steps, FollowedSchedule):
            raise TypeError(
                f"restore: expected a schedule that says what its states mean, found {type(steps).__name__}"
            )
        operator, values = observe(measurement, seeds, self.side_px(sampler))
        observation = Observation(measurement, operator.to(self.device), values.to(self.device), self._centred)
        noise = [step_noise(seed) for seed in seeds]
        return self.decode(solve(steps, self.prediction(prompts, sampler), latents, noise, observation))

    def prediction(self, prompts: Prompts, sampler: SamplerSpec) -> Prediction:
        """Return the network under its prompts and its guidance; vectors behind a prompt are part of it alone."""
        texts = prompts.texts if isinstance(prompts, Extended) else prompts
        conditional = self.condition(texts, sampler)
        if isinstance(prompts, Extended):
            conditional |= {"text": self.token_space().encode(prompts).to(self.dtype)}
        if self.takes_guidance() or sampler.guidance == 1:
            predict = unguided(self, conditional)
        else:
            unconditional = self.condition([None] * len(texts), sampler)
            predict = guided(self, conditional, unconditional, sampler.guidance)
        if sampler.epsilon_scaling:
            steps = schedule(self.pipe.scheduler, sampler, self.steps(sampler), self.device)
            predict = scaled(predict, sampler.epsilon_scaling, steps.timesteps)
        return predict if learns_variance(choose(self.pipe.scheduler, sampler)) else mean_only(predict)

    @override
    def check_recording(self) -> None:
        return

    @override
    def check_measurement(self, sampler: SamplerSpec, seed: int) -> None:
        if sampler.measurement:
            observe(sampler.measurement, [seed], self.side_px(sampler))

    def side_px(self, sampler: SamplerSpec) -> int:
        """Return the side of the pictures."""
        side: int = self.latent_shape(sampler.size_px)[1] * self.pipe.vae_scale_factor
        return side

    def _centred(self, latents: Latents) -> Float[Tensor, "b 3 s s"]:
        return self.decode(latents).permute(0, 3, 1, 2) * 2 - 1

    def decode(self, latents: Latents) -> Pixels:
        """Return the pictures of clean latents, in [0, 1] but not yet clipped."""
        vae = self.pipe.vae
        pixels: Tensor = vae.decode(unscaled(latents, vae.config).to(vae.dtype), return_dict=False)[0]
        return from_centred(pixels.float())

    @override
    def latent_shape(self, size_px: int | None) -> tuple[int, int, int]:
        config = self.pipe.unet.config if hasattr(self.pipe, "unet") else self.pipe.transformer.config
        own = config.sample_size
        height, width = (own, own) if isinstance(own, int) else own
        side = self._side(size_px, self.pipe.vae_scale_factor)
        return config.in_channels, side or height, side or width

    def _side(self, size_px: int | None, multiple: int) -> int | None:
        if size_px is not None and size_px % multiple:
            name = type(self.pipe).__name__
            raise ValueError(f"sampler: size_px of {name} must be a multiple of {multiple}, but is {size_px}")
        return size_px // self.pipe.vae_scale_factor if size_px else None


def from_centred(pixels: Latents) -> Pixels:
    """Return pictures in [0, 1], channels last, from those in [-1, 1], channels first."""
    return (pixels / 2 + 0.5).permute(0, 2, 3, 1)


def unscaled(latents: Latents, config: FrozenDict) -> Latents:
    """Return the autoencoder's own latents from those of the diffusion: undo its scale and shift."""
    mean, std = config.get("latents_mean"), config.get("latents_std")
    scale = float(config["scaling_factor"])
    if mean is None or std is None:
        return latents / scale + float(config.get("shift_factor") or 0.0)
    return latents * latents.new_tensor(std).view(1, -1, 1, 1) / scale + latents.new_tensor(mean).view(1, -1, 1, 1)


def step_noise(seed: int) -> torch.Generator:
    """Return the generator of a row's per-step noise: on the CPU, the same for every perturbation of the seed."""
    return torch.Generator("cpu").manual_seed(int(rng(seed, "steps").integers(2**63)))


def to_pictures(pixels: Pixels) -> list[Picture | None]:
    """Return each picture in 0 to 255; None where it is not finite."""
    finite = pixels.isfinite().flatten(1).all(dim=1).tolist()
    rounded = (pixels.nan_to_num().clamp(0, 1) * 255).round().byte().cpu().numpy()
    return [picture if good else None for picture, good in zip(rounded, finite, strict=True)]


def _cut(prompt: str, tokenizer: PreTrainedTokenizerBase, limit: int) -> str:
    ids = tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids
    room = limit - tokenizer.num_special_tokens_to_add()
    return cast("str", tokenizer.decode(ids[room:])).strip()
