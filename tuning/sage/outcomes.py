"""What each search and each control came to: a file an attempt, so that nothing is searched twice."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from pydantic import Field

from stages.base import Spec
from stages.metrics import Estimate, Proportion, proportion_difference
from tuning.sage.latent import Attempt


class Tried(Protocol):
    """An attempt of a search or of a control, over latents or prompts."""

    @property
    def natural(self) -> bool:
        """Whether it fails before anything is changed, which no search can claim."""

    @property
    def success(self) -> bool:
        """Whether a failure was found."""

    @property
    def evaluations(self) -> int:
        """Pictures drawn."""


class Outcome(Spec):
    """What one attempt came to, searched for or drawn at random."""

    attempt: Attempt
    evaluations: int = Field(ge=1, description="Pictures drawn.")
    natural: bool = Field(description="Whether the plain seed fails by itself, which no search can claim.")
    success: bool = Field(description="Whether a valid failure was found; of a search, one that its redraw confirms.")
    failure: str | None = Field(None, description="Folder of the failure, in `failures`.")
    unconfirmed: bool = Field(
        False, description="Whether the picture, drawn alone, was no failure any more: one that hangs on rounding."
    )
    left: bool | None = Field(None, description="Whether the first failing latent fails a test; null: none failed.")
    curve: tuple[float | None, ...] = Field((), description="The objective of each picture; null where not finite.")
    seconds: float = Field(0.0, ge=0, description="Of the trial, shared evenly among what it drew.")


A = TypeVar("A", bound=Spec)
K = TypeVar("K", bound=Spec)


def name(attempt: Spec) -> str:
    """Return 16 hex digits that name an attempt."""
    return attempt.fingerprint()


def keep(folder: Path, outcome: Any) -> None:
    """Write an outcome, a spec with its `attempt`, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{name(outcome.attempt)}.partial"
    partial.write_text(json.dumps(outcome.model_dump(mode="json")) + "\n", encoding="utf-8")
    partial.rename(folder / f"{name(outcome.attempt)}.json")


def kept(folder: Path, attempts: Iterable[A], of: type[K]) -> dict[A, K]:
    """Return the outcomes of those attempts that have one."""
    files = {attempt: folder / f"{name(attempt)}.json" for attempt in attempts}
    return {attempt: of.model_validate_json(f.read_text()) for attempt, f in files.items() if f.is_file()}


def finite(value: float) -> float | None:
    """Return a number, or None where it is missing, since JSON has no NaN."""
    return float(value) if np.isfinite(value) else None


def success_rate(outcomes: Sequence[Tried]) -> Estimate:
    """Return SSR(A): the share of attempts with a valid failure, with Wilson's interval.

    Attempts whose plain seed fails by itself are counted as missing.
    """
    return _share([np.nan if one.natural else float(one.success) for one in outcomes])


def gain(search: Mapping[A, Tried], control: Mapping[A, Tried]) -> Estimate:
    """Return the success rate of a search less that of a control, over the attempts of both, interval paired.

    Attempts that fail by themselves are counted as missing.
    """
    pairs = [(control[a], one) for a, one in search.items() if a in control]
    both = [(c.success, s.success) if not s.natural else (np.nan, np.nan) for c, s in pairs]
    without, found = np.array(both, dtype=np.float64).reshape(-1, 2).T
    return proportion_difference(without, found)


def natural_rate(outcomes: Sequence[Outcome]) -> Estimate:
    """Return the share of plain seeds that fail by themselves, with Wilson's interval; each seed counts once."""
    return _share([float(one.natural) for one in outcomes if not one.attempt.restart])


def rejected_rate(outcomes: Sequence[Outcome]) -> Estimate:
    """Return NGR: of the searches that came upon a failure, the share whose first failing latent the tests reject."""
    return _share([np.nan if one.left is None or one.natural else float(one.left) for one in outcomes])


def pictures_per_failure(outcomes: Sequence[Tried]) -> float:
    """Return the pictures drawn for each success, all attempts counted but the natural ones; NaN without a success."""
    tried = [one for one in outcomes if not one.natural]
    successes = sum(one.success for one in tried)
    return sum(one.evaluations for one in tried) / successes if successes else float("nan")


def _share(values: Sequence[float]) -> Estimate:
    return Proportion().of(np.array(values, dtype=np.float64))
