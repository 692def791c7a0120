"""diffusers' schedulers, made ready for the sampling loop, each draw from its row's own generator."""

import inspect
from typing import Any, TypeAlias

import diffusers
import torch
from torch import Tensor

from stages.sampling.loop import Noise
from stages.sampling.spec import SamplerSpec
from stages.tensors import Latents, Time

CLASSES = {
    "ddim": diffusers.DDIMScheduler,
    "ddpm": diffusers.DDPMScheduler,
    "pndm": diffusers.PNDMScheduler,
    "euler": diffusers.EulerDiscreteScheduler,
    "euler_ancestral": diffusers.EulerAncestralDiscreteScheduler,
    "dpmpp": diffusers.DPMSolverMultistepScheduler,
    "lcm": diffusers.LCMScheduler,
    "flow_euler": diffusers.FlowMatchEulerDiscreteScheduler,
}

Scheduler: TypeAlias = Any
"""A scheduler of diffusers, for which it has no common type."""

StepArguments: TypeAlias = dict[str, int | float | list[float]]
"""Arguments of a scheduler's `set_timesteps`."""


class DiffusersSchedule:
    """A diffusers scheduler whose steps are set. Good for one batch: schedulers remember."""

    def __init__(self, scheduler: Scheduler, arguments: StepArguments, eta: float, device: torch.device) -> None:
        self.scheduler = scheduler
        scheduler.set_timesteps(**arguments, device=device)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)
        self.timesteps: Tensor = scheduler.timesteps
        accepted = inspect.signature(scheduler.step).parameters
        self.draws = "generator" in accepted
        self.extra = {"eta": eta} if "eta" in accepted else {}

    def start(self, latents: Latents) -> Latents:
        """Return unit-variance noise at the scale of the first step; flow matching starts at unit variance."""
        return latents * getattr(self.scheduler, "init_noise_sigma", 1.0)

    def scale(self, x: Latents, t: Time) -> Latents:
        """Return the model's input for the state `x`."""
        scaled = getattr(self.scheduler, "scale_model_input", None)
        return x if scaled is None else scaled(x, t)

    def step(self, output: Latents, t: Time, x: Latents, noise: Noise) -> Latents:
        """Return the next state; what it draws comes from `noise`, row by row."""
        generator = {"generator": list(noise)} if self.draws else {}
        after: Tensor = self.scheduler.step(output, t, x, **self.extra, **generator, return_dict=False)[0]
        return after


def choose(own: Scheduler, spec: SamplerSpec) -> Scheduler:
    """Return a fresh scheduler: the model's own, or the named one on the model's noise schedule."""
    _check(own, spec)
    if spec.scheduler == "model":
        return type(own).from_config(own.config)
    # DDIM and DDPM clip the clean prediction to [-1, 1] unless told otherwise, which is wrong for latents
    missing = {} if "clip_sample" in own.config else {"clip_sample": False}
    return CLASSES[spec.scheduler].from_config(own.config, **missing)


def _check(own: Scheduler, spec: SamplerSpec) -> None:
    wants_flow = spec.scheduler == "flow_euler"
    if spec.scheduler != "model" and wants_flow != (flow := is_flow(own)):
        kind = "a flow" if flow else str(own.config.get("prediction_type", "epsilon"))
        use = "'model' or 'flow_euler'" if flow else "'model' or another"
        raise ValueError(
            f"sampler: scheduler {spec.scheduler!r} cannot run a model that predicts {kind} "
            f"({type(own).__name__}); use {use}"
        )
    lcm = spec.scheduler == "lcm" or (spec.scheduler == "model" and isinstance(own, diffusers.LCMScheduler))
    trained = own.config.get("num_train_timesteps", 1000)
    limit = own.config.get("original_inference_steps", 50) if lcm else trained
    if spec.steps > limit:
        raise ValueError(f"sampler: the scheduler of this model takes at most {limit} steps, but steps={spec.steps}")


def is_flow(scheduler: Scheduler) -> bool:
    """Return whether the model behind this scheduler predicts a flow."""
    config = scheduler.config
    by_settings = config.get("use_flow_sigmas", False) or config.get("prediction_type") == "flow_prediction"
    return "FlowMatch" in type(scheduler).__name__ or bool(by_settings)
