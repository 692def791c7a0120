"""Estimate: the only form in which a number leaves the project."""

import math
from collections.abc import Sequence
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from stages.base import Spec


def _from_null(value: object) -> object:
    """Return the one NaN object for null and NaN, so that equal estimates compare equal, and all else as it is."""
    return math.nan if value is None or (isinstance(value, float) and math.isnan(value)) else value


def _to_null(value: float) -> float | None:
    return None if math.isnan(value) else value


Number: TypeAlias = Annotated[
    float,
    Field(allow_inf_nan=True),
    BeforeValidator(_from_null),
    PlainSerializer(_to_null, return_type=float | None, when_used="json"),
]
"""A float that may be missing: NaN in memory, null in JSON."""


class Estimate(Spec):
    """A number with its interval, what it rests on, and how the interval was made.

    `low` and `high` are NaN where the data give no interval, as a single row does. `format` applies to the three
    numbers: `f"{estimate:.2%}"`.
    """

    model_config = ConfigDict(allow_inf_nan=True)

    value: Number = Field(description="The estimate, in the unit of what is measured; NaN where there is none.")
    low: Number = Field(description="Lower end of the interval, same unit; NaN where there is none.")
    high: Number = Field(description="Upper end of the interval, same unit; NaN where there is none.")
    n: int = Field(ge=0, description="Rows, or pairs of rows, that the estimate rests on.")
    n_missing: int = Field(0, ge=0, description="Rows, or pairs of rows, left out because they have no number.")
    method: str = Field(description="How the interval was made.")

    @model_validator(mode="after")
    def _check(self) -> "Estimate":
        if any(math.isinf(number) for number in (self.value, self.low, self.high)):
            raise ValueError(f"an Estimate expects finite numbers or NaN, but found {self.value, self.low, self.high}")
        if self.n == 0 and not math.isnan(self.value):
            raise ValueError(f"an Estimate of no rows expects the value NaN, but found {self.value}")
        return self

    @classmethod
    def missing(cls, n_missing: int, method: str, n: int = 0) -> "Estimate":
        """Return the estimate that the data do not give."""
        return cls(value=math.nan, low=math.nan, high=math.nan, n=n, n_missing=n_missing, method=method)

    def __format__(self, spec: str) -> str:
        spec = spec or ".3f"
        count = f"(n={self.n}{f', {self.n_missing} missing' if self.n_missing else ''})"
        if math.isnan(self.value):
            return f"no value {count}"
        ends = ("?" if math.isnan(end) else format(end, spec) for end in (self.low, self.high))
        return f"{format(self.value, spec)} [{', '.join(ends)}] {count}"

    def __str__(self) -> str:
        return format(self)


def widest(estimates: Sequence[Estimate]) -> Estimate:
    """Return the estimate with the widest interval, of several of one number; one without an interval comes last."""
    return max(estimates, key=lambda one: -1.0 if math.isnan(one.high - one.low) else one.high - one.low)
