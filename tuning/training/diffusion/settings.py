"""What a pixel model on a noise schedule is trained with. Imports no heavy library."""

from typing import Literal

from pydantic import Field, model_validator

from tuning.training.diffusion.perturbations import AnyPerturbation, Unperturbed
from tuning.training.settings import PixelSpec


class DiffusionSpec(PixelSpec):
    """A model that predicts the noise; a network of `kind: pretrained` makes it a fine-tuning.

    The budget counts pictures, so minibatches; `updates` and `passes` are what these cost.
    """

    kind: Literal["diffusion"] = "diffusion"
    schedule: Literal["cosine", "linear"] = Field("cosine", description="Noise schedule, ADM's or that of Ho et al.")
    noise_levels: int = Field(1000, ge=2, description="T: training steps of the noise schedule.")
    variance: Literal["fixed", "learned_range"] = Field(
        "learned_range", description="'learned_range': the hybrid loss of Nichol & Dhariwal 2021 (arXiv:2102.09672)."
    )
    vlb_weight: float = Field(0.001, gt=0, description="Lambda of the variational bound in the hybrid loss.")
    times: Literal["uniform", "loss_aware"] = Field(
        "uniform", description="How time steps are drawn; 'loss_aware': by their loss, the rows weighted to make up."
    )
    dropout: float | None = Field(
        None, ge=0, lt=1, description="Share dropped in residual blocks; null: the network's."
    )
    accumulate: int = Field(1, ge=1, description="Parts a minibatch is taken in, one after the other, to save memory.")
    perturbation: AnyPerturbation = Unperturbed()

    @model_validator(mode="after")
    def _equal_parts(self) -> "DiffusionSpec":
        if self.budget.batch % self.accumulate:
            raise ValueError(
                f"accumulate: expected a divisor of budget.batch={self.budget.batch}, found {self.accumulate}"
            )
        return self

    @property
    def minibatches(self) -> int:
        """Minibatches of the whole training."""
        return self.loop.steps

    @property
    def updates(self) -> int:
        """Parameter updates of the whole training."""
        return self.minibatches * self.perturbation.updates

    @property
    def passes(self) -> int:
        """Forward and backward passes of the whole training: its cost."""
        return self.minibatches * self.perturbation.passes
