"""Targets and losses: what counts as a failure, and what a search maximises to find one.

Tensors of log-probabilities are [... k] over a label set of k classes; `label` is the position of the prompt's class.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from stages.base import Spec

LogProbabilities: TypeAlias = Float[Tensor, "*rest k"]
Scores: TypeAlias = Float[Tensor, "*rest"]


class Target(Spec):
    """What a search wants classifiers to see."""

    def check(self, label: str, labels: Sequence[str]) -> None:
        """Refuse a prompt's class that the label set does not have."""
        position(label, labels)

    @abstractmethod
    def unwanted(self, log_p: LogProbabilities, label: int, labels: Sequence[str]) -> Scores:
        """Return the probability, 0 to 1, that the paper's loss drives down."""

    @abstractmethod
    def margin(self, log_p: LogProbabilities, label: int, labels: Sequence[str]) -> Scores:
        """Return a difference of log-probabilities that is positive exactly where a classifier sees the target."""


class Untargeted(Target):
    """Anything but the prompt's class."""

    kind: Literal["untargeted"] = "untargeted"

    @override
    def unwanted(self, log_p: LogProbabilities, label: int, labels: Sequence[str]) -> Scores:
        return log_p[..., label].exp()

    @override
    def margin(self, log_p: LogProbabilities, label: int, labels: Sequence[str]) -> Scores:
        return _best_but(log_p, label) - log_p[..., label]


class Targeted(Target):
    """One given other class."""

    kind: Literal["targeted"] = "targeted"
    target: str = Field(min_length=1, description="The class to be seen; one of the label set, not the prompt's.")

    @override
    def check(self, label: str, labels: Sequence[str]) -> None:
        super().check(label, labels)
        position(self.target, labels)
        if self.target == label:
            raise ValueError(f"targeted: expected a target other than the prompt's class, found {label!r} for both")

    @override
    def unwanted(self, log_p: LogProbabilities, label: int, labels: Sequence[str]) -> Scores:
        return 1 - log_p[..., position(self.target, labels)].exp()

    @override
    def margin(self, log_p: LogProbabilities, label: int, labels: Sequence[str]) -> Scores:
        aim = position(self.target, labels)
        return log_p[..., aim] - _best_but(log_p, aim)


class Distorted(Target):
    """No class at all: every probability is low."""

    kind: Literal["distorted"] = "distorted"
    low: float = Field(0.5, gt=0, lt=1, description="What the largest probability must stay below, 0 to 1.")

    @override
    def unwanted(self, log_p: LogProbabilities, label: int, labels: Sequence[str]) -> Scores:
        return log_p.amax(-1).exp()

    @override
    def margin(self, log_p: LogProbabilities, label: int, labels: Sequence[str]) -> Scores:
        return math.log(self.low) - log_p.amax(-1)


AnyTarget: TypeAlias = Annotated[Untargeted | Targeted | Distorted, Field(discriminator="kind")]


class Loss(Spec):
    """What a search maximises, one number a row."""

    @abstractmethod
    def __call__(
        self, target: Target, log_p: Float[Tensor, "m k"], label: int, labels: Sequence[str]
    ) -> Float[Tensor, ""]:
        """Return the objective of one row from the log-probabilities of m classifiers; larger is nearer to failure."""


class PaperLoss(Loss):
    """SAGE's: the sum of 1 - 2 p over the classifiers; with p in [0, 1] it flattens where they are sure.

    The paper's pseudo-code ascends its negative, which would mend pictures instead of breaking them.
    """

    kind: Literal["paper"] = "paper"

    @override
    def __call__(
        self, target: Target, log_p: Float[Tensor, "m k"], label: int, labels: Sequence[str]
    ) -> Float[Tensor, ""]:
        return (1 - 2 * target.unwanted(log_p, label, labels)).sum()


class MarginLoss(Loss):
    """The sum of the margins over the classifiers: its gradient does not vanish where they are sure.

    1 - 2 p is the margin of probabilities where there are two classes.
    """

    kind: Literal["margin"] = "margin"

    @override
    def __call__(
        self, target: Target, log_p: Float[Tensor, "m k"], label: int, labels: Sequence[str]
    ) -> Float[Tensor, ""]:
        return target.margin(log_p, label, labels).sum()


AnyLoss: TypeAlias = Annotated[PaperLoss | MarginLoss, Field(discriminator="kind")]


def position(name: str, labels: Sequence[str]) -> int:
    """Return where a class stands in the label set; raises ValueError where it does not."""
    if name not in labels:
        raise ValueError(f"sage: expected a class of the label set {', '.join(labels)}, found {name!r}")
    return labels.index(name)


def _best_but(log_p: LogProbabilities, out: int) -> Scores:
    others = torch.cat([log_p[..., :out], log_p[..., out + 1 :]], dim=-1)
    return others.amax(-1)
