"""Claims of "The brittle latent space of diffusion models" (arXiv:2312.11473) on GLIDE: experiment 2 and section 5."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from pipelines import factorial_answers
from pipelines.claims.brittle import PAPER
from pipelines.claims.claim import Claim, Measure, Range
from pipelines.factorial import Factorial
from pipelines.factorial_answers import FactorialAnswers
from pipelines.trajectory import Trajectory
from pipelines.trajectory_answers import STATISTICS, TrajectoryAnswers
from stages.metrics import Estimate
from stages.metrics.factorial import CellMeans, combined, contrast, means

MODELS, FACTORS, STEPS = "experiment2_demo", "factorial_demo", "trajectory_demo"
GUIDED, UNGUIDED, GLIDE, LATENT_GLIDE = "guided", "unguided", "GLIDE-like", "latent-GLIDE"
"""Arms of `experiment2_demo`, and what the paper calls its models."""
DDIM, ANCESTRAL = "guided DDIM", "guided ancestral"
"""Arms of `trajectory_demo` with a fixed variance; GLIDE-like and latent-GLIDE stand there, too."""
VARIANCE = "variance"


class Models:
    """Models side by side: the cells of a factorial question without factors, by the names of their arms."""

    def __init__(self, answers: FactorialAnswers) -> None:
        self.answers = answers
        self.numbers = {cell.name: number for number, cell in enumerate(answers.cells)}

    def of(self, cells: CellMeans, weights: dict[str, float]) -> Estimate:
        """Return a weighted sum of the cells' means; each row is the same prompt and seed in all of them."""
        missing = sorted(set(weights) - set(self.numbers))
        if missing:
            raise ValueError(f"claims: expected an arm {missing[0]!r}, found {', '.join(self.numbers)}; name it so")
        vector = np.zeros(len(self.numbers))
        for name, weight in weights.items():
            vector[self.numbers[name]] = weight
        return combined(cells, vector)[0]

    def slope(self, weights: dict[str, float]) -> Estimate:
        """Return a weighted sum of the slopes of top-1 per standard deviation of a channel's mean."""
        return self.of(self.answers.slope.cells, weights)

    def unshifted(self, weights: dict[str, float]) -> Estimate:
        """Return a weighted sum of the shares of top-1 without a shift."""
        answers = self.answers
        return self.of(means(answers.unshifted(answers.headline), answers.clusters), weights)

    def at_ends(self, name: str, *, change: bool) -> Estimate:
        """Return top-1 of a model, or its change to no shift, over the largest shifts to both sides."""
        answers = self.answers
        rows = np.stack([self._at_ends(cell, change=change) for cell in range(len(answers.cells))])
        return self.of(means(rows, answers.clusters), {name: 1.0})

    def _at_ends(self, cell: int, *, change: bool) -> np.ndarray:
        """Return each row's mean over the two ends."""
        top = self.answers.headline
        found = self.answers.changes(top, cell)[[0, -1]].mean(axis=0)
        return found if change else found + self.answers.rows(top, cell, 0)


def effect(answers: FactorialAnswers, factor: str) -> Estimate:
    """Return a factor's main effect on the slope; above 0, its second level loses less."""
    cells = answers.slope.cells
    weights = contrast(answers.design, (answers.design.factors.index(factor),), cells.known).weights
    return combined(cells, weights)[0]


def lead(answers: FactorialAnswers, factor: str) -> Estimate:
    """Return by how much a factor's effect on the slope is larger, in size, than that of the largest other one."""
    number = answers.design.factors.index(factor)
    ahead = {pair: found for pair, found in answers.leads.items() if number in pair}
    (first, _), found = min(ahead.items(), key=lambda item: item[1].value)
    if first == number:
        return found
    return found.model_copy(update={"value": -found.value, "low": -found.high, "high": -found.low})


def first_step(answers: TrajectoryAnswers, arm: str, less: str | None = None) -> Estimate:
    """Return the length of an arm's first step, unshifted, in even shares of its way; or less that of another arm."""
    steps = STATISTICS["first_step"](answers.cells[answers.names.index(arm), 0])
    if less is not None:
        steps = steps - STATISTICS["first_step"](answers.cells[answers.names.index(less), 0])
    return answers.mean(steps)


@lru_cache(maxsize=2)
def rows_of(question: Factorial) -> FactorialAnswers:
    """Return the answers of a factorial question, read once for all claims that rest on them."""
    return factorial_answers.read(question)


@lru_cache(maxsize=1)
def steps_of(question: Trajectory) -> TrajectoryAnswers:
    """Return the answers of recorded trajectories, read once likewise."""
    return TrajectoryAnswers(question)


def over_models(statistic: Callable[[Models], Estimate]) -> Measure:
    """Return the statistic of models side by side."""
    return lambda question: statistic(Models(rows_of(question)))


def over_factors(statistic: Callable[[FactorialAnswers], Estimate]) -> Measure:
    """Return the statistic of a factorial design."""
    return lambda question: statistic(rows_of(question))


def over_steps(statistic: Callable[[TrajectoryAnswers], Estimate]) -> Measure:
    """Return the statistic of recorded trajectories."""
    return lambda question: statistic(steps_of(question))


CLAIMS = (
    Claim(
        "brittle/glide-is-flat",
        "GLIDE stays as accurate under a mean shift as without one.",
        PAPER,
        MODELS,
        "change of top-1 of the GLIDE-like model at the largest shifts to both sides",
        Range(low=-0.05),
        over_models(lambda models: models.at_ends(GLIDE, change=True)),
    ),
    Claim(
        "brittle/guided-falls-where-glide-does-not",
        "Under a mean shift guided Stable Diffusion loses more than GLIDE.",
        PAPER,
        MODELS,
        "slope of top-1 per sigma, GLIDE-like less guided text-to-image",
        Range(low=0),
        over_models(lambda models: models.slope({GLIDE: 1.0, GUIDED: -1.0})),
    ),
    Claim(
        "brittle/guided-ahead-unshifted",
        "Without a shift guided Stable Diffusion is slightly better than GLIDE.",
        PAPER,
        MODELS,
        "unshifted top-1, guided text-to-image less GLIDE-like",
        Range(low=0),
        over_models(lambda models: models.unshifted({GUIDED: 1.0, GLIDE: -1.0})),
    ),
    Claim(
        "brittle/unguided-falls-steepest",
        "Without guidance Stable Diffusion falls most steeply.",
        PAPER,
        MODELS,
        "slope of top-1 per sigma, unguided less guided text-to-image",
        Range(high=0),
        over_models(lambda models: models.slope({UNGUIDED: 1.0, GUIDED: -1.0})),
    ),
    Claim(
        "brittle/unguided-reaches-zero",
        "Without guidance Stable Diffusion's accuracy reaches 0 at the largest shifts.",
        PAPER,
        MODELS,
        "top-1 of unguided text-to-image at the largest shifts to both sides",
        Range(high=0.05),
        over_models(lambda models: models.at_ends(UNGUIDED, change=False)),
    ),
    Claim(
        "brittle/latent-glide-is-robust",
        "A latent model that learns its variance, as GLIDE does, loses less than Stable Diffusion.",
        PAPER,
        MODELS,
        "slope of top-1 per sigma, latent-GLIDE less guided text-to-image, each with its own sampler",
        Range(low=0),
        over_models(lambda models: models.slope({LATENT_GLIDE: 1.0, GUIDED: -1.0})),
    ),
    Claim(
        "brittle/learned-variance-helps",
        "GLIDE is robust because it learns its variance.",
        PAPER,
        FACTORS,
        "main effect of learning the variance on the slope of top-1 per sigma",
        Range(low=0),
        over_factors(lambda answers: effect(answers, VARIANCE)),
    ),
    Claim(
        "brittle/learned-variance-carries-it",
        "What sets GLIDE apart is its learned variance, rather than anything else in which the models differ.",
        PAPER,
        FACTORS,
        "size of the effect of learning the variance less that of the largest other factor",
        Range(low=0),
        over_factors(lambda answers: lead(answers, VARIANCE)),
    ),
    Claim(
        "brittle/stable-diffusion-steps-evenly",
        "Stable Diffusion's sampling makes steps of one length.",
        PAPER,
        STEPS,
        "first step of guided text-to-image by DDIM, in even shares of the way",
        Range(0.8, 1.25),
        over_steps(lambda answers: first_step(answers, DDIM)),
    ),
    Claim(
        "brittle/glide-jumps-first",
        "GLIDE's sampling makes one large first step and small ones after it.",
        PAPER,
        STEPS,
        "first step of the GLIDE-like model, in even shares of the way",
        Range(low=2),
        over_steps(lambda answers: first_step(answers, GLIDE)),
    ),
    Claim(
        "brittle/jump-by-learned-variance",
        "The large first step comes from drawing with a learned variance.",
        PAPER,
        STEPS,
        "first step of latent-GLIDE less that of its twin with a fixed variance, both ancestral, in even shares",
        Range(low=0.25),
        over_steps(lambda answers: first_step(answers, LATENT_GLIDE, less=ANCESTRAL)),
    ),
)
