"""What training adds to a noisy picture before the network sees it. Imports no heavy library."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from stages.base import Spec


class Single(Spec):
    """A perturbation that costs one pass and one update a minibatch."""

    @property
    def updates(self) -> int:
        """Parameter updates a minibatch."""
        return 1

    @property
    def passes(self) -> int:
        """Forward and backward passes a minibatch."""
        return 1


class Unperturbed(Single):
    """Nothing: the training of Ho et al. 2020 (arXiv:2006.11239)."""

    kind: Literal["none"] = "none"


class InputNoise(Single):
    """More noise in the input, the target unmoved: ADM-IP, Ning et al. 2023 (arXiv:2301.11706), Alg. 1."""

    kind: Literal["input"] = "input"
    gamma: float = Field(0.1, ge=0, description="Standard deviation of what is added to the unit noise.")


class Adversarial(Spec):
    """The perturbation that raises the loss: "Better Adversarial Robustness" (arXiv:2502.17099), Alg. 1.

    The printed algorithm differentiates prediction and target (`full`). The released code holds the perturbation fixed
    in the target (`detached`): another attack, which lowers the printed objective on well trained models.
    """

    kind: Literal["adversarial"] = "adversarial"
    passes: int = Field(3, ge=1, description="K: forward and backward passes a minibatch, on the same noise and time.")
    step: float = Field(0.1, ge=0, description="alpha: length of one step, in `norm`, in units of the noisy picture.")
    max_norm: float = Field(0.1, gt=0, description="Largest perturbation: root mean square (l2) or maximum (linf).")
    gradient: Literal["full", "detached"] = Field("full", description="Whether the target's gradient counts too.")
    norm: Literal["l2", "linf"] = Field("l2", description="Geometry of step and bound, for each picture by itself.")
    inner: Literal["free", "pgd"] = Field(
        "free", description="'free': a parameter update after every pass; 'pgd': one, after the last."
    )

    @property
    def updates(self) -> int:
        """Parameter updates a minibatch."""
        return self.passes if self.inner == "free" else 1


AnyPerturbation: TypeAlias = Annotated[Unperturbed | InputNoise | Adversarial, Field(discriminator="kind")]
