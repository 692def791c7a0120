"""A claim of a paper: what it says, what would show it, and what we found."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pydantic import Field

from pipelines.claims.subject import AnySubject, OfQuestion
from stages.base import Spec
from stages.metrics import Estimate

Verdict: TypeAlias = Literal["reproduced", "contradicted", "undecided"]
Measure: TypeAlias = Callable[[Any], Estimate]
"""Reads a statistic off what a subject has asked, once it has answered."""


@dataclass(frozen=True)
class Range:
    """Where a statistic lies if a claim is right; both ends belong to it."""

    low: float = -math.inf
    high: float = math.inf

    def judge(self, found: Estimate) -> Verdict:
        """Return the verdict: the whole interval inside, the whole interval outside, or neither.

        An end that is missing, as a break point beyond every strength, settles nothing on its side.
        """
        low = -math.inf if math.isnan(found.low) else found.low
        high = math.inf if math.isnan(found.high) else found.high
        if math.isnan(found.value) or (math.isnan(found.low) and math.isnan(found.high)):
            return "undecided"
        if self.low <= low and high <= self.high:
            return "reproduced"
        return "contradicted" if high < self.low or low > self.high else "undecided"

    def __str__(self) -> str:
        if math.isinf(self.low):
            return f"at most {self.high:g}"
        return f"at least {self.low:g}" if math.isinf(self.high) else f"between {self.low:g} and {self.high:g}"


@dataclass(frozen=True)
class Claim:
    """One claim and the measurement that decides it."""

    name: str
    """Source, slash, a few words: what `seedquake claims` takes."""
    says: str
    source: str
    config: str
    """The packaged config whose answer it rests on."""
    statistic: str
    """What is estimated, in words."""
    holds: Range
    measure: Measure
    subject: Callable[[str, list[str]], AnySubject] = OfQuestion.resolved
    """Resolve that config with overrides; claims of one config have one subject."""
    published: bool = False
    """Whether it is about published weights, too large for a quick look: measured only where it is named in full."""


class Finding(Spec):
    """What was found on a claim: kept in a file, so that one claim can be run again by itself."""

    claim: str
    estimate: Estimate
    verdict: Verdict
    model: str = Field(description="Model, sampler and size of the grid.")
    report: str = Field(description="Folder of the answer that it rests on.")
    measured: str = Field(description="Day, as YYYY-MM-DD.")
