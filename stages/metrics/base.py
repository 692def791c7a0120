"""Metric: many rows to one estimate, in parts that can be merged."""

from abc import abstractmethod
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Float64
from pydantic import Field

from stages.arrays import Outcomes
from stages.base import Spec
from stages.metrics.estimate import Estimate

StateT = TypeVar("StateT")


class Metric(Spec, Generic[StateT]):
    """Many rows to one estimate.

    Law: however the rows are split, updating the parts and merging their states gives the result of one pass; no row
    at all gives NaN.
    """

    confidence: float = Field(0.95, gt=0, lt=1, description="Coverage of the interval, 0 to 1, both excluded.")

    @abstractmethod
    def empty(self) -> StateT:
        """Return the state before any row."""

    @abstractmethod
    def update(self, state: StateT, batch: Outcomes) -> StateT:
        """Return the state after the rows of `batch` too."""

    @abstractmethod
    def merge(self, a: StateT, b: StateT) -> StateT:
        """Return the state after the rows of both."""

    @abstractmethod
    def result(self, state: StateT) -> Estimate:
        """Return the estimate of the rows seen."""

    def of(self, rows: Outcomes) -> Estimate:
        """Return the estimate of `rows`, in one pass."""
        return self.result(self.update(self.empty(), rows))


def as_numbers(outcomes: Outcomes) -> Float64[np.ndarray, " n"]:
    """Return the outcomes in float64; an infinite one is refused, a NaN is a missing one."""
    numbers = outcomes.astype(np.float64)
    if infinite := int(np.isinf(numbers).sum()):
        raise ValueError(f"a metric expects finite numbers, or NaN for a missing one, but found {infinite} infinite")
    return numbers


def as_binary(outcomes: Outcomes) -> Float64[np.ndarray, " n"]:
    """Return the outcomes in float64: 0, 1 or NaN, and nothing else."""
    numbers = as_numbers(outcomes)
    if (other := numbers[~np.isin(numbers, (0, 1)) & ~np.isnan(numbers)]).size:
        raise ValueError(f"a proportion expects outcomes of 0, 1 or NaN, but found {other[0]:g}")
    return numbers
