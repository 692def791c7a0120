"""One trial: some latent searches side by side in one batch, or the control of some."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import Field

from stages.base import Spec, digest
from stages.models.source import fingerprint
from stages.models.spec import ModelSpec
from tuning.sage import failures, outcomes
from tuning.sage.confirming import Confirming, Suspect
from tuning.sage.latent import Attempt, Found, LatentSearch, LatentSearchSpec
from tuning.sage.outcomes import Outcome
from tuning.sage.surrogate import Surrogate, SurrogateSpec, load_surrogate
from tuning.search import Metrics, Point

if TYPE_CHECKING:
    from stages.models.generator import Stepwise

Way: TypeAlias = Literal["search", "fresh_seeds", "random_perturbations"]


class LatentTask(Spec):
    """Attempts to search for, or to draw at random with as many pictures as their searches took."""

    kind: Literal["latent"] = "latent"
    way: Way = "search"
    model: str
    surrogate: SurrogateSpec
    search: LatentSearchSpec
    attempts: tuple[Attempt, ...] = Field(min_length=1)
    output: str
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = Field(1, ge=1)

    @property
    def folder(self) -> Path:
        """Return where the searches with these settings and weights lie, and their controls."""
        weights = [fingerprint(self.model), *self.surrogate.weights()]
        parts = [self.search.model_dump(mode="json"), self.surrogate.model_dump(mode="json"), self.model, *weights]
        return Path(self.output) / "sage" / digest(parts)[:16]

    @property
    def outcomes(self) -> Path:
        """Return the folder of a file an attempt."""
        return self.folder / self.way

    @property
    def measured(self) -> Path:
        """Return the file that says that all of it is done."""
        return self.folder / f"{self.way}-{digest([outcomes.name(a) for a in self.attempts])[:16]}.done"

    @property
    def pictures(self) -> int:
        """The most pictures that it may draw."""
        return len(self.attempts) * (1 + self.search.iterations)

    def done(self) -> dict[Attempt, Outcome]:
        """Return what came of those attempts that are done."""
        return outcomes.kept(self.outcomes, self.attempts, Outcome)

    def found(self) -> list[failures.Saved]:
        """Return the failures that its searches have found, plain seeds that fail by themselves left out."""
        names = [one.failure for one in self.done().values() if one.failure is not None and one.success]
        return [failures.load(self.folder / "failures" / name) for name in names]


def run(point: Point) -> Iterator[Metrics]:
    """Work on the task of a point, yielding how far it is; attempts that are done are not done again."""
    import torch

    task = LatentTask.model_validate(point["task"])
    torch.set_num_threads(task.threads)
    done = task.done()
    todo = [attempt for attempt in task.attempts if attempt not in done]
    if todo:
        generator, surrogate = load(task)
        work = searched if task.way == "search" else drawn
        yield from work(task, todo, generator, surrogate)
    task.measured.touch()
    yield {"pictures": float(task.pictures), **found_so_far(task)}


def load(task: LatentTask) -> "tuple[Stepwise, Surrogate]":
    """Return the generator and the ensemble of a task."""
    return models(task.model, task.surrogate, task.device)


def models(model: str, surrogate: SurrogateSpec, device: str) -> "tuple[Stepwise, Surrogate]":
    """Return a generator and an ensemble, in single precision.

    Raises TypeError for a generator that runs its own loop.
    """
    from stages.models.generator import Stepwise
    from stages.models.loading import load_generator

    where = ModelSpec.model_validate({"model": model, "device": device, "dtype": "float32"})
    generator = load_generator(where)
    if not isinstance(generator, Stepwise):
        raise TypeError(
            f"sage: expected a model whose steps our own loop takes, found {model!r}, whose "
            f"{type(generator.pipe).__name__} runs its own"
        )
    return generator, load_surrogate(surrogate, where)


def searched(
    task: LatentTask, todo: Sequence[Attempt], generator: "Stepwise", surrogate: Surrogate
) -> Iterator[Metrics]:
    """Search for all attempts in one batch; keep each as soon as it ends."""
    keeping, start, so_far = Keeping(task, generator, surrogate), time.monotonic(), found_so_far(task)
    for tick in LatentSearch(task.search, generator, surrogate).ticks(todo):
        for found in tick.ended:
            keeping.keep(found, (time.monotonic() - start) / max(1, tick.pictures))
        if tick.ended:
            so_far = found_so_far(task)
        yield {"pictures": float(tick.pictures), "objective": tick.objective, **so_far}


def drawn(task: LatentTask, todo: Sequence[Attempt], generator: "Stepwise", surrogate: Surrogate) -> Iterator[Metrics]:
    """Draw as many pictures for each attempt as its search took."""
    from tuning.sage.latents.controls import FreshSeeds, RandomPerturbations, RandomSearch

    draws = FreshSeeds() if task.way == "fresh_seeds" else RandomPerturbations()
    search, pictures = RandomSearch(draws, task.search, generator, surrogate), 0
    budgets = task.model_copy(update={"way": "search"}).done()
    for attempt in todo:
        start = time.monotonic()
        (one,) = search([attempt], [budgets[attempt].evaluations])
        outcome = Outcome(
            attempt=attempt,
            evaluations=one.evaluations,
            natural=one.natural,
            success=one.accepted > 0,
            seconds=time.monotonic() - start,
        )
        outcomes.keep(task.outcomes, outcome)
        pictures += one.evaluations
        yield {"pictures": float(pictures), **found_so_far(task)}


def found_so_far(task: LatentTask) -> Metrics:
    """Return the share of the attempts that have found a failure, of those that are done."""
    rate = outcomes.success_rate(list(task.done().values()))
    return {"success": rate.value, "attempts": float(rate.n)}


@dataclass
class Keeping:
    """Keeps what searches have found; a failure only if, drawn alone, it still is one."""

    task: LatentTask
    generator: "Stepwise"
    surrogate: Surrogate

    def __post_init__(self) -> None:
        task = self.task
        folder = task.folder / "failures"
        self.confirming = Confirming(task.model, task.search.sampler, self.generator, self.surrogate, folder)

    def keep(self, found: Found, seconds_a_picture: float) -> None:
        """Write the outcome of one search, and its failure where it has one."""
        failure = self.confirmed(found)
        outcome = Outcome(
            attempt=found.attempt,
            evaluations=found.evaluations,
            natural=found.natural,
            success=failure is not None and not found.natural,
            failure=failure,
            unconfirmed=failure is None and found.accepted is not None,
            left=None if found.first is None else not self.task.search.validity.accepts(found.first.latent),
            curve=tuple(outcomes.finite(value) for value in found.curve),
            seconds=seconds_a_picture * found.evaluations,
        )
        outcomes.keep(self.task.outcomes, outcome)

    def confirmed(self, found: Found) -> str | None:
        """Return the folder of the accepted failure, if drawn alone it still is one."""
        if found.accepted is None:
            return None
        attempt = found.attempt
        suspect = Suspect(
            search="seed" if found.natural else "latent",
            prompt=attempt.prompt,
            before=attempt.prompt,
            label=attempt.label,
            target=attempt.target,
            seed=attempt.seed,
            evaluations=1 + found.accepted.iteration,
            objective=found.accepted.objective,
            measured=found.accepted.tests._asdict(),
            latent=found.accepted.latent,
        )
        return self.confirming(suspect)
