"""One trial: some prompt searches side by side, or a control of some, each prompt tried on seeds it has not seen."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from pydantic import Field

from stages.base import Spec, digest
from stages.models.source import fingerprint
from stages.models.spec import ModelSpec
from tuning.sage import outcomes
from tuning.sage.confirming import Confirming, Suspect
from tuning.sage.prompts.found import PromptFound, PromptSearchSpec
from tuning.sage.prompts.outcomes import PromptOutcome, Said, Step
from tuning.sage.prompts.pictures import PromptAttempt, PromptPictures, Shown
from tuning.sage.surrogate import Surrogate, SurrogateSpec
from tuning.search import Metrics, Point

if TYPE_CHECKING:
    from stages.models.generator import Stepwise
    from tuning.sage.prompts.controls import Completed
    from tuning.sage.prompts.language import Words

PromptWay: TypeAlias = Literal["search", "random_candidates", "random_completions"]


class PromptTask(Spec):
    """Attempts to search for, or to complete at random with as many pictures as their searches took."""

    kind: Literal["prompt"] = "prompt"
    way: PromptWay = "search"
    model: str
    surrogate: SurrogateSpec
    search: PromptSearchSpec
    fresh_seeds: tuple[int, ...] = Field(min_length=1, description="On which what is found is tried.")
    attempts: tuple[PromptAttempt, ...] = Field(min_length=1)
    output: str
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = Field(1, ge=1)

    @property
    def folder(self) -> Path:
        """Return where the searches with these settings and weights lie, and their controls."""
        weights = [fingerprint(self.model), self.search.language.weights(), *self.surrogate.weights()]
        parts = [self.search.model_dump(mode="json"), self.surrogate.model_dump(mode="json"), self.fresh_seeds]
        return Path(self.output) / "sage" / digest([*parts, self.model, *weights])[:16]

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
        a_word = self.search.iterations + self.search.verify
        seeds = sum(len(attempt.seeds) for attempt in self.attempts)
        return seeds * (1 + self.search.words * a_word) + 2 * len(self.attempts) * len(self.fresh_seeds)

    def done(self) -> dict[PromptAttempt, PromptOutcome]:
        """Return what came of those attempts that are done."""
        return outcomes.kept(self.outcomes, self.attempts, PromptOutcome)


def run(point: Point) -> Iterator[Metrics]:
    """Work on the task of a point, yielding how far it is; attempts that are done are not done again."""
    import torch

    from tuning.sage.latents.trial import models
    from tuning.sage.prompts.language import load_words

    task = PromptTask.model_validate(point["task"])
    torch.set_num_threads(task.threads)
    done = task.done()
    if todo := [attempt for attempt in task.attempts if attempt not in done]:
        generator, surrogate = models(task.model, task.surrogate, task.device)
        where = ModelSpec.model_validate({"model": task.model, "device": task.device, "dtype": "float32"})
        parts = Parts(task, generator, surrogate, load_words(task.search.language, surrogate.labels, where))
        yield from (completed(parts, todo) if task.way == "random_completions" else searched(parts, todo))
    task.measured.touch()
    yield {"pictures": float(task.pictures), **found_so_far(task)}


class Parts(NamedTuple):
    """What a trial has loaded."""

    task: PromptTask
    generator: "Stepwise"
    surrogate: Surrogate
    words: "Words"


def searched(parts: Parts, todo: Sequence[PromptAttempt]) -> Iterator[Metrics]:
    """Search for all attempts side by side, by the gradient or among random candidates; keep each as it ends."""
    from tuning.sage.prompt import PromptSearch
    from tuning.sage.prompts.controls import AtRandom

    task, start = parts.task, time.monotonic()
    choice = AtRandom(task.search) if task.way == "random_candidates" else None
    search = PromptSearch(task.search, parts.generator, parts.surrogate, parts.words, choice)
    keeping, so_far = Keeping(parts), found_so_far(task)
    for tick in search.ticks(todo):
        for found in tick.ended:
            keeping.keep(of_search(found), (time.monotonic() - start) / max(1, tick.pictures))
        if tick.ended:
            so_far = found_so_far(task)
        yield {"pictures": float(tick.pictures), "objective": tick.objective, **so_far}


def completed(parts: Parts, todo: Sequence[PromptAttempt]) -> Iterator[Metrics]:
    """Let the language model complete the prompts, with as many pictures as each search took."""
    from tuning.sage.prompts.controls import RandomCompletions

    task, pictures = parts.task, 0
    control, keeping = RandomCompletions(task.search, parts.generator, parts.surrogate, parts.words), Keeping(parts)
    budgets = task.model_copy(update={"way": "search"}).done()
    for attempt in todo:
        start = time.monotonic()
        (one,) = control([attempt], [budgets[attempt].evaluations])
        keeping.keep(of_completions(one), (time.monotonic() - start) / one.evaluations)
        pictures += one.evaluations
        yield {"pictures": float(pictures), **found_so_far(task)}


def found_so_far(task: PromptTask) -> Metrics:
    """Return the share of the attempts that have found a prompt, of those that are done."""
    rate = outcomes.success_rate(list(task.done().values()))
    return {"success": rate.value, "attempts": float(rate.n)}


class Ended(NamedTuple):
    """What a search and a control have in common once they end."""

    attempt: PromptAttempt
    path: list[Shown]
    """The plain prompt's pictures first; of a search, those of each longer prompt after it."""
    shown: Shown
    accepted: Shown | None
    natural: bool
    evaluations: int


def of_search(found: PromptFound) -> Ended:
    """Return what a search came to."""
    return Ended(found.attempt, found.path, found.shown, found.accepted, found.natural, found.evaluations)


def of_completions(done: "Completed") -> Ended:
    """Return what random completions came to."""
    shown = done.accepted or done.best
    return Ended(done.attempt, done.shown[:1], shown, done.accepted, done.natural, done.evaluations)


@dataclass
class Keeping:
    """Keeps what has ended: a prompt counts if, drawn alone, one of its pictures still fails."""

    parts: Parts

    def __post_init__(self) -> None:
        task, generator, surrogate, _ = self.parts
        self.pictures = PromptPictures(task.search, generator, surrogate)
        folder = task.folder / "failures"
        self.confirming = Confirming(task.model, task.search.sampler, generator, surrogate, folder)

    def keep(self, ended: Ended, seconds_a_picture: float) -> None:
        """Write the outcome of one attempt, and a failure where it has one."""
        claimed = ended.accepted is not None and not ended.natural
        failure = self.confirmed(ended) if claimed else None
        plain = ended.path[0].prompt
        plain_fresh, fresh = self.fresh(ended.attempt, [plain, ended.shown.prompt])
        outcome = PromptOutcome(
            attempt=ended.attempt,
            plain=plain,
            prompt=ended.shown.prompt,
            evaluations=ended.evaluations,
            natural=ended.natural,
            success=failure is not None,
            failure=failure,
            unconfirmed=claimed and failure is None,
            path=tuple(step(shown) for shown in ended.path),
            plain_said=self.said(plain),
            said=self.said(ended.shown.prompt),
            plain_fresh=plain_fresh,
            fresh=fresh,
            seconds=seconds_a_picture * ended.evaluations,
        )
        outcomes.keep(self.parts.task.outcomes, outcome)

    def confirmed(self, ended: Ended) -> str | None:
        """Return the folder of the first picture that, drawn alone, still fails."""
        attempt, shown = ended.attempt, ended.shown
        failing = (seed for seed, fails in zip(attempt.seeds, shown.fails, strict=True) if fails)
        return next((name for seed in failing if (name := self.confirming(self.suspect(ended, seed)))), None)

    def suspect(self, ended: Ended, seed: int) -> Suspect:
        """Return the picture of a prompt on one of its seeds."""
        said = self.said(ended.shown.prompt)
        return Suspect(
            search="prompt",
            prompt=ended.shown.prompt,
            before=ended.path[0].prompt,
            label=ended.attempt.label,
            target=ended.attempt.target,
            seed=seed,
            evaluations=ended.evaluations,
            objective=outcomes.finite(ended.shown.objective),
            measured={"log_p_per_word": said.per_word, "share_of_seeds": ended.shown.share},
        )

    def said(self, text: str) -> Said:
        """Return how probable a text is."""
        return Said.model_validate(self.parts.words.naturalness(text)._asdict())

    def fresh(self, attempt: PromptAttempt, prompts: Sequence[str]) -> list[tuple[bool, ...]]:
        """Return on which fresh seeds each prompt fails; one that stands there twice is drawn once."""
        anew = attempt.model_copy(update={"seeds": self.parts.task.fresh_seeds})
        asked = list(dict.fromkeys(prompts))
        seen = dict(zip(asked, self.pictures.see([(anew, text) for text in asked]), strict=True))
        return [seen[text].fails for text in prompts]


def step(shown: Shown) -> Step:
    """Return a prompt of a path as it is kept."""
    return Step(prompt=shown.prompt, objective=outcomes.finite(shown.objective), share=shown.share)
