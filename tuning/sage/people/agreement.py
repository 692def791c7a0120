"""What raters say together: how many failures they confirm, whether they know the controls, and how far they agree.

Raters vote on a question with two answers, so a majority is more than half of those who have answered; a tie is
undecided, and what is undecided or not answered is missing.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float64, Int64

from pipelines.config import UserError
from stages.metrics import Bootstrap, Estimate, Proportion, functional
from stages.metrics.functional import OfMeans
from tuning.sage.failures import Failure, Saved, sha256
from tuning.sage.people.labelling import NOTHING, OTHER, Labels, controls
from tuning.sage.targets import Distorted, Targeted

Counts: TypeAlias = Int64[np.ndarray, "pictures answers"]
"""How many raters gave each answer about each picture."""


class Counted(NamedTuple):
    """A figure by the name under which it is printed."""

    name: str
    rate: Estimate


def summary(saved: Sequence[Saved], labels: Labels, attempted: int | None) -> list[Counted]:
    """Return every figure of the human check; those of all searches only where their number is known."""
    failures = [one.failure for one in saved]
    searched = [one for one in failures if one.search != "seed"]
    plain = [one for one in failures if one.search == "seed"]
    found = [Counted("found failures that raters confirm", confirmed_rate(searched, labels))]
    if attempted is not None:
        found.insert(0, Counted("SSR(A): searches with a failure", _share([1.0] * len(searched), attempted)))
        found.insert(
            1, Counted("SSR(H): searches with one that raters confirm", success_rate(searched, labels, attempted))
        )
    if plain:
        found.append(Counted("failures of plain seeds that raters confirm", confirmed_rate(plain, labels)))
    counts = table(labels, sorted({name for answers in labels.values() for name in answers}))
    return [
        *found,
        Counted("controls that raters see as the prompt's class", control_rate(saved, labels)),
        Counted("Fleiss' kappa", fleiss_kappa(counts)),
        Counted("Krippendorff's alpha, nominal", krippendorff_alpha(counts)),
    ]


def success_rate(failures: Sequence[Failure], labels: Labels, attempted: int) -> Estimate:
    """Return SSR(H): the share of attempted searches whose failure a majority confirms, with Wilson's interval.

    Each search is taken to have found one failure at most. Raises `UserError` for fewer attempts than failures.
    """
    return _share([majority(_confirmations(one, labels)) for one in failures], attempted)


def confirmed_rate(failures: Sequence[Failure], labels: Labels) -> Estimate:
    """Return the share of failures that a majority confirms, with Wilson's interval."""
    return _share([majority(_confirmations(one, labels)) for one in failures], len(failures))


def control_rate(saved: Sequence[Saved], labels: Labels) -> Estimate:
    """Return the share of controls that a majority sees as the prompt's class: how well raters know the pictures.

    The ensemble has not rejected the controls altogether; a search does not keep what it saw in them.
    """
    named = classes_of_controls(saved)
    votes = [[answer == label for answer in about(labels, picture)] for picture, label in named.items()]
    return _share([majority(one) for one in votes], len(votes))


def classes_of_controls(saved: Sequence[Saved]) -> dict[str, str]:
    """Return the class that the prompt of each control names, by the SHA-256 of its picture."""
    shown = controls(saved)
    named = {sha256(one.before): one.failure.label for one in saved}
    return {picture: named[picture] for picture in shown}


def confirms(failure: Failure, answer: str) -> bool:
    """Return whether a rater who gave this answer sees the failure too.

    Not the prompt's class; of a target that is a class, that one; of a distorted picture, no class at all.
    """
    if isinstance(failure.target, Targeted):
        return answer == failure.target.target
    return answer in {OTHER, NOTHING} if isinstance(failure.target, Distorted) else answer != failure.label


def _confirmations(failure: Failure, labels: Labels) -> list[bool]:
    return [confirms(failure, answer) for answer in about(labels, failure.sha256)]


def majority(votes: Sequence[bool]) -> float:
    """Return 1 where more than half of the votes are true, 0 where more than half are not, else NaN."""
    balance = 2 * sum(votes) - len(votes)
    return float(balance > 0) if balance else np.nan


def about(labels: Labels, picture: str) -> list[str]:
    """Return the answers about a picture."""
    return [answers[picture] for answers in labels.values() if picture in answers]


def most_said(labels: Labels, picture: str) -> str | None:
    """Return the answer that more than half of a picture's raters gave; None where there is none."""
    said = about(labels, picture)
    return next((one for one in dict.fromkeys(said) if majority([answer == one for answer in said]) == 1), None)


def table(labels: Labels, pictures: Sequence[str]) -> Counts:
    """Return how many raters gave each answer, pictures in the given order, answers in that of their names."""
    names = sorted({answer for answers in labels.values() for answer in answers.values()})
    counts = [[about(labels, picture).count(name) for name in names] for picture in pictures]
    return np.array(counts, np.int64).reshape(len(pictures), len(names))


def fleiss_kappa(counts: Counts, bootstrap: Bootstrap = Bootstrap()) -> Estimate:  # noqa: B008  frozen
    """Return Fleiss' kappa, with an interval by resampling pictures.

    Fleiss 1971 (doi:10.1037/h0031619). It takes as many answers about every picture: those with fewer than the most, or
    with only one, are counted as missing. NaN where all answers are the same.
    """
    most = max(2, int(counts.sum(1).max(initial=0)))
    whole = counts[counts.sum(1) == most].astype(np.float64)
    agreement = (whole * (whole - 1)).sum(1) / (most * (most - 1))

    def kappa(means: Float64[np.ndarray, "b k"]) -> Float64[np.ndarray, " b"]:
        by_chance = (means[:, 1:] ** 2).sum(1)
        return _ratio(means[:, 0] - by_chance, 1 - by_chance)

    return _resampled(np.vstack([agreement, whole.T / most]), kappa, bootstrap, len(counts))


def krippendorff_alpha(counts: Counts, bootstrap: Bootstrap = Bootstrap()) -> Estimate:  # noqa: B008  frozen
    """Return Krippendorff's alpha for nominal answers, with an interval by resampling pictures.

    Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, section C. Any number of raters may have answered
    about a picture; those with one answer or none are counted as missing. NaN where all answers are the same.
    """
    paired = counts[counts.sum(1) >= 2].astype(np.float64)
    raters = paired.sum(1)
    matching = (paired * (paired - 1)).sum(1) / (raters - 1)  # the diagonal of the coincidence matrix

    def alpha(means: Float64[np.ndarray, "b k"]) -> Float64[np.ndarray, " b"]:
        given = means[:, 1:].sum(1)
        total = given * len(paired)
        by_chance = ((means[:, 1:] / given[:, None]) ** 2).sum(1)
        observed, expected = 1 - means[:, 0] / given, (1 - by_chance) * total / (total - 1)
        return 1 - _ratio(observed, expected)

    return _resampled(np.vstack([matching, paired.T]), alpha, bootstrap, len(counts))


def _resampled(rows: Float64[np.ndarray, "k n"], of_means: OfMeans, bootstrap: Bootstrap, pictures: int) -> Estimate:
    found = functional(rows, of_means, bootstrap)
    return found.model_copy(update={"n_missing": pictures - rows.shape[1]})


def _ratio(above: Float64[np.ndarray, " b"], below: Float64[np.ndarray, " b"]) -> Float64[np.ndarray, " b"]:
    found: np.ndarray = np.divide(above, below, out=np.full(below.shape, np.nan), where=below > 1e-12)
    return found


def _share(outcomes: Sequence[float], of: int) -> Estimate:
    if of < len(outcomes):
        raise UserError(
            f"labels: expected at least as many attempted searches as found failures, {len(outcomes)}, found {of}"
        )
    return Proportion().of(np.array([*outcomes, *[0.0] * (of - len(outcomes))], np.float64))
