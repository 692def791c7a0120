"""How a student is distilled."""

from typing import Literal

from pydantic import Field, model_validator

from stages.base import Spec
from tuning.training.diffusion.perturbations import Adversarial
from tuning.training.zoo.loop import LoopSpec


class Guidances(Spec):
    """The guidance scales that the student learns, drawn evenly for each picture; as in sampling, 1 is none."""

    low: float = Field(2.0, ge=0)
    high: float = Field(8.0, ge=0)

    @model_validator(mode="after")
    def _in_order(self) -> "Guidances":
        if self.low > self.high:
            raise ValueError(f"guidance: expected low <= high, found {self.low:g} and {self.high:g}; swap them")
        return self


class Attack(Adversarial):
    """The perturbation of the teacher's step: "Better Adversarial Robustness" (arXiv:2502.17099), Sec. 4.2.

    In the paper's objective the student stands on both sides, and the perturbed one is what distillation holds fixed.
    `target` holds it fixed still, so that a step of length 0 is plain distillation; `both` differentiates both sides.
    """

    orientation: Literal["target", "both"] = Field("target", description="Which sides the student learns from.")


class ConsistencySpec(Spec):
    """Latent consistency distillation: Luo et al. 2023 (arXiv:2310.04378), Alg. 1."""

    kind: Literal["consistency"] = "consistency"
    teacher: str = Field("text-to-image", description="The embedded model whose steps the student learns to skip.")
    images: int = Field(64_000, ge=1, description="Size of the training set: the first indices of the world.")
    guidance: Guidances = Guidances()
    skip: int = Field(20, ge=1, description="Training steps of the noise schedule that one step of the teacher spans.")
    huber: float = Field(0.001, gt=0, description="c of the pseudo-Huber distance sqrt(x^2 + c^2) - c, by entry.")
    target: float = Field(0.95, ge=0, lt=1, description="Decay of the target network, a running average.")
    time_width: int = Field(64, ge=2, multiple_of=2, description="Numbers that tell the network its guidance.")
    perturbation: Attack | None = Field(None, description="null: plain distillation.")
    loop: LoopSpec
