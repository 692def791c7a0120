"""Claims of "The brittle latent space of diffusion models" (arXiv:2312.11473) on its five perturbations."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from pipelines.answers import BROKEN, Answers, joins_control
from pipelines.claims.claim import Claim, Measure, Range
from pipelines.robustness import Robustness
from pipelines.robustness_page import answer
from stages.metrics import Bootstrap, Estimate, functional
from stages.metrics.curve import first_crossing
from stages.metrics.functional import OfMeans

PAPER = "arXiv:2312.11473"
CONFIG, PAPER_CONFIG = "claims_brittle", "robustness_paper"
MEAN, RANDOM_MEAN, STD = "uniform_mean_shift", "uniform_random_mean_shift", "std_shift"
Shift: TypeAlias = tuple[str, float]
"""Kind of a perturbation, and its strength."""


class Sweep:
    """The rows of a robustness sweep, by kind and strength."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.numbers: dict[Shift, int] = {
            (p.kind, p.strength): n for n, p in enumerate(answers.perturbations) if n and joins_control(p)
        }

    def strengths(self, kind: str) -> list[float]:
        """Return the strengths of a kind, ascending, without the control at 0."""
        return sorted(strength for name, strength in self.numbers if name == kind)

    def column(self, name: str, shift: Shift | None) -> np.ndarray:
        """Return a column under a shift or, for None, of the control, a number a prompt and seed."""
        at = 0 if shift is None else self.numbers[shift]
        return self.answers.rows.of(name, 0, at).astype(np.float64).ravel()

    def of(self, rows: Sequence[np.ndarray], of_means: OfMeans) -> Estimate:
        """Return a function of the means of columns over the same rows."""
        clusters = self.answers.rows.clusters
        return functional(np.stack(rows), of_means, Bootstrap(), None if clusters is None else clusters.ravel())

    def change(self, name: str, weights: dict[Shift, float]) -> Estimate:
        """Return the weighted mean over shifts of the change of a column to the control."""
        control = self.column(name, None)
        changes = [weight * (self.column(name, shift) - control) for shift, weight in weights.items()]
        return self.of([np.sum(changes, axis=0)], lambda means: means[:, 0])


def breaks(sweep: Sweep, kind: str) -> tuple[list[np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    """Return a kind's columns of top-1, the control's first, and the function from their means to the break point."""
    strengths = sweep.strengths(kind)
    columns = [sweep.column("top1_correct", shift) for shift in (None, *((kind, s) for s in strengths))]
    return columns, lambda means: first_crossing(np.array(strengths), 1 - means[:, 1:] / means[:, :1], BROKEN)


def slower(sweep: Sweep) -> Estimate:
    """Return how many times as strong a random mean shift must be as a constant one to break the model."""
    (constant, breaks_at), (random, breaks_later) = breaks(sweep, MEAN), breaks(sweep, RANDOM_MEAN)
    split = len(constant)
    return sweep.of([*constant, *random], lambda means: breaks_later(means[:, split:]) / breaks_at(means[:, :split]))


def shrinking(sweep: Sweep) -> Estimate:
    """Return the change of top-1 by shrinking the noise less that by growing it as much."""
    sides = [s for s in sweep.strengths(STD) if s > 0]
    weights = {(STD, sign * s): sign / len(sides) for s in sides for sign in (1.0, -1.0)}
    return sweep.change("top1_correct", weights)


def slightly_positive(sweep: Sweep) -> Estimate:
    """Return the change of top-1 by the smallest positive mean shift."""
    return sweep.change("top1_correct", {(MEAN, min(s for s in sweep.strengths(MEAN) if s > 0)): 1.0})


def greener(sweep: Sweep) -> Estimate:
    """Return how much greener positive mean shifts are than negative ones: green less the mean of red and blue."""
    sides = [s for s in sweep.strengths(MEAN) if s > 0]
    parts = {"green_mean": 1.0, "red_mean": -0.5, "blue_mean": -0.5}
    rows = [
        weight * sign / len(sides) * sweep.column(name, (MEAN, sign * s))
        for name, weight in parts.items()
        for s in sides
        for sign in (1.0, -1.0)
    ]
    return sweep.of([np.sum(rows, axis=0)], lambda means: means[:, 0])


def rightward(sweep: Sweep) -> Estimate:
    """Return how much farther right things are under positive random mean shifts than under negative ones."""
    sides = [s for s in sweep.strengths(RANDOM_MEAN) if s > 0]
    weights = {(RANDOM_MEAN, sign * s): sign / len(sides) for s in sides for sign in (1.0, -1.0)}
    return sweep.change("saliency_x", weights)


def classes_apart(sweep: Sweep) -> Estimate:
    """Return by how much more the most broken class loses than the least broken one, under mean shifts.

    The two are chosen on every other seed and measured on the rest: chosen on the same rows, they would differ by
    chance alone.
    """
    rows = sweep.answers.rows
    shifts = [sweep.numbers[MEAN, s] for s in sweep.strengths(MEAN)]
    top1 = rows.columns["top1_correct"][:, 0].astype(np.float64)
    change = (top1[:, shifts] - top1[:, :1]).mean(axis=1)  # [seeds prompts]
    chosen, measured = change[::2], change[1::2]
    by_class = {name: float(np.nanmean(chosen[:, at])) for name, at in sweep.answers.class_columns().items()}
    worst, best = min(by_class, key=lambda n: by_class[n]), max(by_class, key=lambda n: by_class[n])
    sides = [measured[:, sweep.answers.class_columns()[name]].ravel() for name in (best, worst)]
    return functional(_padded(sides), lambda means: means[:, 0] - means[:, 1], Bootstrap())


def deviations(sweep: Sweep) -> Estimate:
    """Return how many standard deviations of a drawn seed's mean lie between 0 and the break point."""
    far = max(sweep.strengths(MEAN))
    a_unit = float(np.nanmedian(sweep.column("latent_mean_z", (MEAN, far)))) / far
    columns, breaks_at = breaks(sweep, MEAN)
    return sweep.of(columns, lambda means: a_unit * breaks_at(means))


def unshifted(column: str) -> Callable[[Sweep], Estimate]:
    """Return the statistic: the mean of a column without a shift."""
    return lambda sweep: sweep.of([sweep.column(column, None)], lambda means: means[:, 0])


def over_rows(statistic: Callable[[Sweep], Estimate]) -> Measure:
    """Return the statistic of a sweep's stored rows."""
    return lambda question: statistic(sweep_of(question))


@lru_cache(maxsize=1)
def sweep_of(question: Robustness) -> Sweep:
    """Return a sweep's stored rows, read once for all claims that rest on them."""
    return Sweep(answer(question))


def _padded(columns: list[np.ndarray]) -> np.ndarray:
    """Return columns of different lengths side by side; what is not there is missing."""
    length = max(map(len, columns))
    return np.stack([np.pad(column, (0, length - len(column)), constant_values=np.nan) for column in columns])


CLAIMS = (
    Claim(
        "brittle/constant-twice-as-fast",
        "A constant mean shift degrades pictures about twice as fast as a uniformly random one of the same strength.",
        PAPER,
        CONFIG,
        "break point of the random shift over that of the constant one",
        Range(1.5, 2.5),
        over_rows(slower),
    ),
    Claim(
        "brittle/shrinking-degrades-faster",
        "Shrinking the noise degrades the pictures faster than growing it.",
        PAPER,
        CONFIG,
        "change of top-1 by shrinking less that by growing, mean over equal strengths",
        Range(high=0),
        over_rows(shrinking),
    ),
    Claim(
        "brittle/slight-positive-shift-helps",
        "A slight positive mean shift improves over none.",
        PAPER,
        CONFIG,
        "change of top-1 at the smallest positive shift",
        Range(low=0),
        over_rows(slightly_positive),
    ),
    Claim(
        "brittle/breaks-by-chance",
        "Mean shifts that break the pictures can occur by chance when seeds are drawn.",
        PAPER,
        CONFIG,
        "the break point in standard deviations of a drawn seed's mean (3.3 are exceeded once in 1000 draws)",
        Range(high=3.3),
        over_rows(deviations),
    ),
    Claim(
        "brittle/positive-shift-greener",
        "Negative mean shifts turn the picture purple, positive ones green.",
        PAPER,
        CONFIG,
        "green less red and blue, positive less negative shifts, of 255",
        Range(low=0),
        over_rows(greener),
    ),
    Claim(
        "brittle/positive-shift-moves-right",
        "Positive random mean shifts move the object to the right, negative ones to the left.",
        PAPER,
        CONFIG,
        "horizontal centre of saliency, positive less negative shifts, of the width",
        Range(low=0),
        over_rows(rightward),
    ),
    Claim(
        "brittle/classes-differ",
        "Some classes break far earlier than others.",
        PAPER,
        CONFIG,
        "change of top-1 of the most robust class less that of the most broken one, chosen on other seeds",
        Range(low=0.1),
        over_rows(classes_apart),
    ),
    Claim(
        "brittle/unshifted-top1",
        "Of Stable Diffusion 2.1's unshifted pictures 71 % show what was asked for.",
        PAPER,
        PAPER_CONFIG,
        "top-1 by SWAG ViT-H/14 on ImageNet-100 prompts; within 3 points, as the paper does not list its classes",
        Range(0.68, 0.74),
        over_rows(unshifted("top1_correct")),
        published=True,
    ),
    Claim(
        "brittle/unshifted-top5",
        "In 90 % of Stable Diffusion 2.1's unshifted pictures it is among the first five guesses.",
        PAPER,
        PAPER_CONFIG,
        "top-5 by SWAG ViT-H/14 on ImageNet-100 prompts; within 3 points, as above",
        Range(0.87, 0.93),
        over_rows(unshifted("top5_correct")),
        published=True,
    ),
)
