"""diffusers' schedulers, made ready for the sampling loop, each draw from its row's own generator."""

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypeAlias

import diffusers
import numpy as np
import torch
from torch import Tensor

from stages.sampling.ddim import Ddim
from stages.sampling.heun import Heun
from stages.sampling.loop import Noise, Schedule
from stages.sampling.precondition import Coefficients, Preconditioning, edm, variance_preserving
from stages.sampling.spec import SamplerSpec
from stages.tensors import Latents, Output, Time

CLASSES = {
    "ddim": diffusers.DDIMScheduler,
    "ddpm": diffusers.DDPMScheduler,
    "pndm": diffusers.PNDMScheduler,
    "euler": diffusers.EulerDiscreteScheduler,
    "euler_ancestral": diffusers.EulerAncestralDiscreteScheduler,
    "dpmpp": diffusers.DPMSolverMultistepScheduler,
    "lcm": diffusers.LCMScheduler,
    "flow_euler": diffusers.FlowMatchEulerDiscreteScheduler,
    "heun": diffusers.HeunDiscreteScheduler,
    "edm_euler": diffusers.EDMEulerScheduler,
    "edm_dpmpp": diffusers.EDMDPMSolverMultistepScheduler,
}

Kind: TypeAlias = Literal["diffusion", "flow", "edm"]
"""What a model was trained as: on a variance-preserving noise schedule, as a flow, or in EDM's parametrisation."""

RUNS: dict[str, tuple[Kind, ...]] = {
    "flow_euler": ("flow",),
    "heun": ("diffusion", "edm"),
    "edm_euler": ("edm",),
    "edm_dpmpp": ("edm",),
}
"""The models that a scheduler can run, where those are not the diffusion models alone."""

DETERMINISTIC = (diffusers.DDIMScheduler, diffusers.EulerDiscreteScheduler, diffusers.EDMEulerScheduler)
"""The schedulers of `FOLLOWING`, for a model's own."""

EXPLODING = (
    diffusers.EulerDiscreteScheduler,
    diffusers.EulerAncestralDiscreteScheduler,
    diffusers.HeunDiscreteScheduler,
    diffusers.EDMEulerScheduler,
    diffusers.EDMDPMSolverMultistepScheduler,
)
"""The schedulers whose state is clean + sigma noise."""

Scheduler: TypeAlias = Any
"""A scheduler of diffusers, for which it has no common type."""
StepArguments: TypeAlias = dict[str, int | float | list[float] | list[int]]
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
        self.last = float(self.timesteps[-1]) if learns_variance(scheduler) else None

    def start(self, latents: Latents) -> Latents:
        """Return unit-variance noise at the scale of the first step; flow matching starts at unit variance.

        EDM starts at sigma_max, as its authors do; diffusers starts it at sqrt(sigma_max^2 + 1).
        """
        if kind(self.scheduler) == "edm":
            return latents * self.scheduler.config.sigma_max
        return latents * getattr(self.scheduler, "init_noise_sigma", 1.0)

    def scale(self, x: Latents, t: Time) -> Latents:
        """Return the model's input for the state `x`."""
        scaled = getattr(self.scheduler, "scale_model_input", None)
        return x if scaled is None else scaled(x, t)

    def step(self, output: Output, t: Time, x: Latents, noise: Noise) -> Latents:
        """Return the next state; what it draws comes from `noise`, row by row.

        A learned variance is put at its smaller bound, zero, in the last step: where that is not the first training
        step, diffusers would add noise to the finished picture.
        """
        generator = {"generator": list(noise)} if self.draws else {}
        if self.last is not None and self.last == float(t):
            output = torch.cat([output[:, : x.shape[1]], torch.full_like(x, -1.0)], dim=1)
        after: Tensor = self.scheduler.step(output, t, x, **self.extra, **generator, return_dict=False)[0]
        return after

    def coefficients(self, t: Time) -> Coefficients:
        """Return how the network's answer at `t` becomes the clean prediction."""
        return preconditioning(self.scheduler)(t)

    def clean(self, seen: Latents, output: Latents, t: Time) -> Latents:
        """Return the clean latents that the network's answer means."""
        if kind(self.scheduler) == "flow":
            return seen - t / self.scheduler.config.num_train_timesteps * output
        at = self.coefficients(t)
        return at.skip * at.size * seen + at.out * output

    def alpha_bar(self, number: int) -> float:
        """Return alpha-bar of the state after call `number`, 1 where it is clean; -1: the start; NaN in a flow."""
        if isinstance(self.scheduler, EXPLODING):
            return self.growth(number) ** -2
        if kind(self.scheduler) == "flow":
            return math.nan
        if number + 1 == len(self.timesteps):
            return 1.0
        return 1 / (1 + self.coefficients(self.timesteps[number + 1]).sigma ** 2)

    def growth(self, number: int) -> float:
        """Return how much larger the state after step `number` is than the variance-preserving one; -1: the start."""
        if not isinstance(self.scheduler, EXPLODING):
            return 1.0
        return math.hypot(1.0, float(self.scheduler.sigmas[number + 1]))


def schedule(own: Scheduler, spec: SamplerSpec, arguments: StepArguments, device: torch.device) -> Schedule:
    """Return the steps that `spec` asks for, of a model whose own scheduler is `own`.

    Heun's method for EDM is ours: that of diffusers knows neither EDM's noise levels nor its parametrisation. So is
    DDIM over uneven steps.
    """
    chosen = choose(own, spec)
    if isinstance(chosen, diffusers.DDIMScheduler) and (times := _uneven(chosen, arguments)) is not None:
        return Ddim(times.to(device), _levels(chosen, times), chosen.config.prediction_type, _bound(chosen), spec.eta)
    steps = DiffusersSchedule(chosen, arguments, spec.eta, device)
    if spec.scheduler == "heun" and kind(own) == "edm":
        return Heun(steps.scheduler.sigmas.tolist(), partial(_edm, own), device)
    return steps


def _uneven(scheduler: Scheduler, arguments: StepArguments) -> Tensor | None:
    """Return the time steps if diffusers' DDIM would step beside them; None where it would not."""
    if "timesteps" in arguments:
        return torch.tensor(arguments["timesteps"])
    scheduler.set_timesteps(**arguments)
    times: Tensor = scheduler.timesteps
    stride = scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    return None if (times[:-1] - times[1:] == stride).all() and times[-1] < stride else times


def _levels(scheduler: Scheduler, times: Tensor) -> list[float]:
    levels: list[float] = [*scheduler.alphas_cumprod[times].tolist(), float(scheduler.final_alpha_cumprod)]
    return levels


def _bound(scheduler: Scheduler) -> Callable[[Latents], Latents]:
    """Return what the scheduler does to a clean prediction that leaves the range of the data."""
    config = scheduler.config
    if config.thresholding:
        dynamic: Callable[[Latents], Latents] = scheduler._threshold_sample
        return dynamic
    limit = config.clip_sample_range if config.clip_sample else math.inf
    return lambda clean: clean.clamp(-limit, limit)


def learns_variance(scheduler: Scheduler) -> bool:
    """Return whether the steps of this scheduler use a variance that the network learned."""
    learned = str(scheduler.config.get("variance_type")).startswith("learned")
    return learned and isinstance(scheduler, diffusers.DDPMScheduler)


def choose(own: Scheduler, spec: SamplerSpec) -> Scheduler:
    """Return a fresh scheduler: the model's own, or the named one on the model's noise schedule."""
    _check(own, spec)
    family = type(own) if spec.scheduler == "model" else CLASSES[spec.scheduler]
    if spec.scheduler == "heun" and kind(own) == "edm":
        family = CLASSES["edm_euler"]  # for its noise levels
    chosen = family.from_config(own.config, **_asked(family, spec), **_missing(own, family, spec))
    _check_first_step(chosen, spec)
    if isinstance(chosen, diffusers.PNDMScheduler) and not chosen.config.skip_prk_steps and spec.steps < 4:
        raise ValueError(f"sampler: PNDM of this model warms up over 4 steps, but steps={spec.steps}")
    return chosen


def _missing(own: Scheduler, family: type, spec: SamplerSpec) -> dict[str, bool | float | None]:
    """Return settings without which a named scheduler would misread the model."""
    if spec.scheduler == "model" or kind(own) == "edm":
        return {}
    if issubclass(family, diffusers.DPMSolverMultistepScheduler):
        return _of_dpm_solver(own)
    # DDIM and DDPM clip the clean prediction to [-1, 1] unless told otherwise, which is wrong for latents
    return {} if "clip_sample" in own.config else {"clip_sample": False}


def _of_dpm_solver(own: Scheduler) -> dict[str, bool | float | None]:
    """Return the settings by which DPM-Solver reads a model as its own scheduler does."""
    config = own.config
    # it cuts a learned variance off after three channels; here it never sees one
    settings: dict[str, bool | float | None] = {"variance_type": None}
    if config.get("clip_sample") and not config.get("thresholding") and config.get("clip_sample_range") == 1.0:
        # it knows no clipping, but its threshold with these settings is the same
        settings |= {"thresholding": True, "dynamic_thresholding_ratio": 1.0, "sample_max_value": 1.0}
    if config.get("beta_schedule") == "squaredcos_cap_v2":
        settings["lambda_min_clipped"] = -5.1  # "critical" there, says diffusers: the end is nearly pure noise
    return settings


def _asked(family: type, spec: SamplerSpec) -> dict[str, str | bool]:
    """Return the settings of the noise schedule that `spec` changes."""
    asked: dict[str, str | bool] = {}
    if spec.spacing != "model":
        asked["timestep_spacing"] = spec.spacing
    if spec.terminal_snr == "zero":
        asked["rescale_betas_zero_snr"] = True
    known = {*inspect.signature(family).parameters}
    if issubclass(family, diffusers.LCMScheduler):
        known -= {"timestep_spacing"}  # it takes the setting, and ignores it
    if strange := sorted(asked.keys() - known):
        raise ValueError(
            f"sampler: {family.__name__} has no {' and no '.join(strange)}; leave spacing and terminal_snr"
        )
    return asked


def _check_first_step(chosen: Scheduler, spec: SamplerSpec) -> None:
    """Refuse to ask an epsilon model for the clean picture where the state holds nothing of it."""
    config = chosen.config
    if not config.get("rescale_betas_zero_snr") or config.get("prediction_type") != "epsilon":
        return
    chosen.set_timesteps(spec.steps)
    if float(chosen.timesteps[0]) == config.num_train_timesteps - 1:
        raise ValueError(
            f"sampler: at zero terminal SNR the first step, {float(chosen.timesteps[0]):g}, is pure noise, of which an "
            "epsilon prediction says nothing; set spacing='leading', or use a model that predicts v"
        )


def _check(own: Scheduler, spec: SamplerSpec) -> None:
    _check_kind(own, spec)
    if spec.measurement and spec.scheduler == "model" and not isinstance(own, DETERMINISTIC):
        raise ValueError(
            f"sampler: the model's own scheduler, {type(own).__name__}, cannot follow a measurement; "
            "set scheduler to ddim, or to edm_euler for a model of EDM"
        )
    lcm = spec.scheduler == "lcm" or (spec.scheduler == "model" and isinstance(own, diffusers.LCMScheduler))
    if spec.epsilon_scaling and (lcm or kind(own) != "diffusion" or own.config.get("prediction_type") != "epsilon"):
        raise ValueError(
            f"sampler: epsilon_scaling expects a diffusion model that predicts epsilon, found {type(own).__name__} "
            f"with prediction_type={own.config.get('prediction_type')!r}; leave it out"
        )
    trained = own.config.get("num_train_timesteps", 1000)
    limit = own.config.get("original_inference_steps", 50) if lcm else trained
    if spec.steps > limit:
        raise ValueError(f"sampler: the scheduler of this model takes at most {limit} steps, but steps={spec.steps}")


def _check_kind(own: Scheduler, spec: SamplerSpec) -> None:
    if spec.scheduler == "model" or (found := kind(own)) in RUNS.get(spec.scheduler, ("diffusion",)):
        return
    trained = str(own.config.get("prediction_type", "epsilon"))
    what = {"flow": "predicts a flow", "edm": "is of EDM", "diffusion": f"predicts {trained}"}[found]
    able = [name for name in CLASSES if found in RUNS.get(name, ("diffusion",))]
    use = "another" if found == "diffusion" else " or ".join(repr(name) for name in able)
    raise ValueError(
        f"sampler: scheduler {spec.scheduler!r} cannot run a model that {what} ({type(own).__name__}); "
        f"use 'model' or {use}"
    )


def kind(scheduler: Scheduler) -> Kind:
    """Return what the model behind this scheduler was trained as."""
    config = scheduler.config
    by_settings = config.get("use_flow_sigmas", False) or config.get("prediction_type") == "flow_prediction"
    if "FlowMatch" in type(scheduler).__name__ or by_settings:
        return "flow"
    return "edm" if type(scheduler).__name__.startswith("EDM") else "diffusion"


def preconditioning(scheduler: Scheduler) -> Preconditioning:
    """Return how the answers of the model behind this scheduler become clean predictions."""
    if kind(scheduler) == "flow":
        raise ValueError(f"sampler: no clean prediction is known for a flow ({type(scheduler).__name__})")
    if kind(scheduler) == "edm":
        return lambda t: _edm(scheduler, math.exp(4 * float(t)))
    clean = scheduler.alphas_cumprod.double()
    sigmas = ((1 - clean) / clean).sqrt().numpy()
    predicts = scheduler.config.prediction_type
    return lambda t: variance_preserving(float(np.interp(float(t), np.arange(len(sigmas)), sigmas)), predicts)


def _edm(scheduler: Scheduler, sigma: float) -> Coefficients:
    config = scheduler.config
    return edm(sigma, config.sigma_data, 1 if config.prediction_type == "epsilon" else -1)
