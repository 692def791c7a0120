"""Elsewhere: whether found latents fail with the prompts of other classes too, or break one prompt alone."""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from pydantic import Field

from stages.arrays import Latent
from stages.base import Spec, digest
from stages.randomness import rng
from tuning.sage import outcomes
from tuning.sage.failures import Failure, Saved
from tuning.sage.latent import LatentSearchSpec, seed_latent
from tuning.sage.latents.trial import LatentTask, load
from tuning.sage.region.oracle import Oracle, Query
from tuning.search import Metrics, Point

if TYPE_CHECKING:
    from stages.models.generator import Stepwise
    from tuning.sage.surrogate import Surrogate

ARMS = ("found", "own_seed", "fresh_seed")
"""The latent found; the plain seed that its search started from; a seed that no search has seen."""


class ElsewhereSpec(Spec):
    """Which found latents are drawn with which other prompts, each beside its two controls."""

    failures: int = Field(12, ge=1, description="Found latents, the first ones.")
    classes: int = Field(3, ge=1, description="Other classes, chosen at random for each latent.")
    seed: int = Field(0, ge=0, description="Of that choice and of the fresh seeds.")

    @property
    def pictures(self) -> int:
        """The most pictures that this may take."""
        return self.failures * self.classes * len(ARMS)

    def queries(self, failure: Failure, prompts: dict[str, str]) -> list[Query]:
        """Return the prompts of other classes that a failure's latent is tried with; they have its target.

        A class that the target names is left out: there the target would be no failure.
        """
        taken = {failure.label, getattr(failure.target, "target", None)}
        others = [label for label in prompts if label not in taken]
        order = rng(self.seed, "elsewhere", failure.name).permutation(len(others))[: self.classes]
        return [Query(prompt=prompts[others[at]], label=others[at], target=failure.target) for at in order.tolist()]


class Moved(Spec):
    """One latent with one other prompt: whether it fails there, and whether its controls do."""

    failure: str = Field(description="Folder of the failure, in `failures`.")
    query: Query
    found: bool
    own_seed: bool
    fresh_seed: bool


class Trial(NamedTuple):
    """A failure and what its latent is tried with."""

    saved: Saved
    query: Query


class Elsewhere:
    """The trial, over one generator and one ensemble; call it on failures of searches over latents."""

    def __init__(
        self, spec: ElsewhereSpec, search: LatentSearchSpec, generator: "Stepwise", surrogate: "Surrogate"
    ) -> None:
        self.spec, self.generator = spec, generator
        self.oracle = Oracle(search, generator, surrogate)

    def __call__(self, failures: Sequence[Saved], prompts: dict[str, str]) -> list[Moved]:
        """Return what the latents of the first failures do with other prompts, of which there is one a class."""
        trials = [
            Trial(saved, query)
            for saved in failures[: self.spec.failures]
            for query in self.spec.queries(saved.failure, prompts)
        ]
        by_query = groupby(sorted(trials, key=_text), key=_text)  # so that prompts fill their batches
        return [moved for _, some in by_query for moved in self._moved(list(some))]

    def _moved(self, trials: Sequence[Trial]) -> Iterator[Moved]:
        """Try latents with one prompt."""
        query = trials[0].query
        latents = [latent for trial in trials for latent in self._latents(trial)]
        fails = self.oracle(np.stack(latents), query).reshape(len(trials), len(ARMS))
        for trial, row in zip(trials, fails.tolist(), strict=True):
            found, own_seed, fresh_seed = row
            name = trial.saved.failure.name
            yield Moved(failure=name, query=query, found=found, own_seed=own_seed, fresh_seed=fresh_seed)

    def _latents(self, trial: Trial) -> tuple[Latent, Latent, Latent]:
        """Return the latents [c h w] of a trial's arms."""
        saved, query = trial
        own = seed_latent(self.generator, saved.failure.sampler, saved.failure.seed)
        random = rng(self.spec.seed, "elsewhere, fresh seed", saved.failure.name, query.label)
        fresh: Latent = random.standard_normal(own.shape, dtype=np.float32)
        return saved.latent, own, fresh


class ElsewhereTask(Spec):
    """Try the failures that some searches have found with other prompts."""

    kind: Literal["elsewhere"] = "elsewhere"
    elsewhere: ElsewhereSpec
    prompts: dict[str, str] = Field(min_length=2, description="The prompt of every class.")
    searches: LatentTask = Field(description="Every attempt of the study as one task; its outcomes are there.")

    @property
    def measured(self) -> Path:
        """Return the file of what is found."""
        names = [outcomes.name(attempt) for attempt in self.searches.attempts]
        parts = [self.elsewhere.model_dump(mode="json"), self.prompts, names]
        return self.searches.folder / f"elsewhere-{digest(parts)[:16]}.json"

    @property
    def pictures(self) -> int:
        """The most pictures that it may draw."""
        return self.elsewhere.pictures

    def done(self) -> list[Moved]:
        """Return what is found; the file must be there."""
        return [Moved.model_validate(one) for one in json.loads(self.measured.read_text(encoding="utf-8"))]


def run(point: Point) -> Iterator[Metrics]:
    """Try the failures of a point's task with other prompts."""
    import torch

    task = ElsewhereTask.model_validate(point["task"])
    torch.set_num_threads(task.searches.threads)
    if not task.measured.is_file():
        elsewhere = Elsewhere(task.elsewhere, task.searches.search, *load(task.searches))
        found = [one.model_dump(mode="json") for one in elsewhere(task.searches.found(), task.prompts)]
        partial = task.measured.with_suffix(".partial")
        partial.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        partial.rename(task.measured)
    yield {"pictures": float(task.pictures)}


def _text(trial: Trial) -> str:
    return trial.query.canonical()
