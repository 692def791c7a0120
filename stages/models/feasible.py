"""Which samplers a model's files rule out before its weights are loaded. Imports no heavy library."""

from typing import NamedTuple

from stages.models.outline import read
from stages.models.source import locate, stages_of
from stages.sampling.spec import SamplerSpec

NAMED = {
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "pndm": "PNDMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler",
    "dpmpp": "DPMSolverMultistepScheduler",
    "heun": "HeunDiscreteScheduler",
}
"""What diffusers calls the schedulers of a diffusion model; of LCM only loading knows which steps it visits."""
UNABLE = ("PNDMScheduler", "HeunDiscreteScheduler")
"""Those that cannot end in pure noise."""
RESCALING = {
    "DDIMScheduler": "leading",
    "DDPMScheduler": "leading",
    "EulerDiscreteScheduler": "linspace",
    "EulerAncestralDiscreteScheduler": "linspace",
    "DPMSolverMultistepScheduler": "linspace",
}
"""Those that can, and the spacing that they take where a model's files name none."""


class Noising(NamedTuple):
    """How a model was trained to be sampled."""

    scheduler: str
    predicts: str = "epsilon"
    learned: bool = False
    """Whether its network answers with a variance, too."""
    trained: int = 1000
    """Training steps."""
    spacing: str | None = None
    offset: int = 0
    rescaled: bool = False
    """Whether it ends in pure noise as it is."""


def noising(model: str) -> Noising | None:
    """Return how a model was trained to be sampled; None where its files do not say so."""
    where = locate(stages_of(model)[0], "diffusers")
    if read(where, "glide.json") is not None:
        return Noising("DDPMScheduler", learned=True, spacing="linspace")
    found = read(where, "scheduler/scheduler_config.json") or {}
    if "_class_name" not in found:
        return None
    return Noising(
        scheduler=str(found["_class_name"]),
        predicts=str(found.get("prediction_type", "epsilon")),
        learned=str(found.get("variance_type")).startswith("learned"),
        trained=int(str(found.get("num_train_timesteps", 1000))),
        spacing=None if found.get("timestep_spacing") is None else str(found["timestep_spacing"]),
        offset=int(str(found.get("steps_offset", 0))),
        rescaled=found.get("rescale_betas_zero_snr") is True,
    )


def refusal(known: Noising, sampler: SamplerSpec) -> str | None:
    """Return why a model cannot be sampled so; None where nothing here speaks against it.

    Loading finds whatever else there is: this knows epsilon scaling, and the settings of a terminal signal-to-noise
    ratio of zero.
    """
    if sampler.epsilon_scaling and not scales(known):
        return f"epsilon_scaling expects a diffusion model that predicts epsilon, found {known.scheduler}; leave it out"
    if sampler.terminal_snr != "zero" and not known.rescaled:
        return None
    name = known.scheduler if sampler.scheduler == "model" else NAMED.get(sampler.scheduler, sampler.scheduler)
    if name in UNABLE and sampler.terminal_snr == "zero":
        return f"terminal_snr='zero' needs one of {', '.join(RESCALING)}, but the scheduler is {name}"
    if name not in RESCALING or known.predicts != "epsilon":
        return None
    spacing = (known.spacing if sampler.spacing == "model" else sampler.spacing) or RESCALING[name]
    if first_step(spacing, known, sampler.steps) == known.trained - 1:
        return (
            "at zero terminal SNR the first step is pure noise, of which an epsilon prediction says nothing; "
            "set spacing='leading', or use a model that predicts v"
        )
    return None


def scales(known: Noising) -> bool:
    """Return whether a model predicts the noise of a variance-preserving state, which can be scaled."""
    other = known.scheduler.startswith(("EDM", "LCM")) or "FlowMatch" in known.scheduler
    return known.predicts == "epsilon" and not other


def first_step(spacing: str, known: Noising, steps: int) -> int:
    """Return the training step that sampling starts from."""
    if spacing != "leading":
        return known.trained - 1
    return (steps - 1) * (known.trained // steps) + known.offset
