"""SamplerSpec: how a latent becomes a picture. Imports no heavy library."""

from typing import Literal, TypeAlias

from pydantic import Field, model_validator

from stages.base import Spec
from stages.sampling.epsilon_scaling import UNSCALED, EpsilonScaling
from stages.sampling.measurement import Measurement
from stages.sampling.upsampling import Upsampling

SchedulerName: TypeAlias = Literal[
    "model",
    "ddim",
    "ddpm",
    "pndm",
    "euler",
    "euler_ancestral",
    "dpmpp",
    "lcm",
    "flow_euler",
    "heun",
    "edm_euler",
    "edm_dpmpp",
]

FOLLOWING = ("model", "ddim", "euler", "edm_euler")
"""The schedulers whose steps can follow a measurement: deterministic, and one call of the model each."""


class SamplerSpec(Spec):
    """How a latent becomes a picture: the scheduler, its steps and the guidance."""

    scheduler: SchedulerName = Field("model", description="'model' is the one that the weights come with.")
    steps: int = Field(
        50, gt=0, le=1000, description="Steps; PNDM calls the model once more than this, Heun twice less one."
    )
    guidance: float = Field(
        7.5,
        ge=0,
        description="Scale s of unconditional + s (conditional - unconditional): 0 ignores the prompt, 1 is the prompt "
        "alone. A model that takes the scale as an input (LCM, FLUX.1 dev) gets it there instead.",
    )
    eta: float = Field(0.0, ge=0, le=1, description="Share of DDPM's noise in DDIM: 0 deterministic, 1 ancestral.")
    size_px: int | None = Field(None, gt=0, description="Side of the square picture; null is the model's own.")
    measurement: Measurement | None = Field(
        None,
        exclude_if=lambda value: value is None,  # the ids of samples without one stay as they were
        description="What the picture must agree with: an inverse problem; null draws freely.",
    )
    upsampling: Upsampling | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="The second stage of a pixel model that has one; null draws the small picture of the first alone.",
    )
    spacing: Literal["model", "leading", "trailing", "linspace"] = Field(
        "model",
        exclude_if=lambda value: value == "model",
        description="Which training steps are visited (arXiv:2305.08891, Table 2); 'model' is the model's own.",
    )
    terminal_snr: Literal["trained", "zero"] = Field(
        "trained",
        exclude_if=lambda value: value == "trained",
        description="'zero' rescales the noise schedule to end in pure noise (arXiv:2305.08891, Alg. 1); the network's "
        "time steps then carry more noise than they did in training.",
    )
    epsilon_scaling: EpsilonScaling | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="Divides the predicted noise of a model that predicts epsilon, of its first stage alone.",
    )

    @model_validator(mode="after")
    def _eta_needs_ddim(self) -> "SamplerSpec":
        if self.eta and self.scheduler != "ddim":
            raise ValueError(f"eta={self.eta} needs scheduler='ddim', but the scheduler is {self.scheduler!r}")
        return self

    @model_validator(mode="after")
    def _scaling_needs_epsilon(self) -> "SamplerSpec":
        if self.epsilon_scaling and self.scheduler in UNSCALED:
            raise ValueError(
                f"epsilon_scaling: expected a scheduler that is told the noise of a picture, such as ddpm, ddim or "
                f"dpmpp, found {self.scheduler!r}; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _measurement_is_of_one_stage_as_trained(self) -> "SamplerSpec":
        if self.measurement and (self.upsampling or self.terminal_snr != "trained"):
            raise ValueError("measurement: expected neither upsampling nor terminal_snr='zero', found one of them")
        return self

    @model_validator(mode="after")
    def _measurement_needs_single_deterministic_steps(self) -> "SamplerSpec":
        if self.measurement and (self.eta or self.scheduler not in FOLLOWING):
            raise ValueError(
                f"measurement: expected one of the schedulers {', '.join(FOLLOWING)} with eta=0, "
                f"found {self.scheduler!r} with eta={self.eta}"
            )
        return self


def parse(json: str) -> SamplerSpec:
    """Return the sampler that `json` describes: what a row's column `sampler` holds."""
    return SamplerSpec.model_validate_json(json)
