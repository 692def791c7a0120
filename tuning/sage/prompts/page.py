"""The page that answers the question of a search over natural prompts."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipelines.report import Page, Picture, interval
from stages.metrics import Estimate
from tuning.sage import failures, outcomes
from tuning.sage.gallery import gallery
from tuning.sage.prompts.figures import fresh, rates
from tuning.sage.prompts.outcomes import PromptOutcome, fresh_gain, fresh_rate, naturalness
from tuning.sage.prompts.pictures import PromptAttempt
from tuning.sage.prompts.study import PromptStudySpec
from tuning.sage.prompts.task import PromptTask, PromptWay

WORDS: dict[PromptWay, str] = {
    "search": "gradient search",
    "random_candidates": "words at random, as many pictures",
    "random_completions": "completions that the language model draws, as many pictures",
}


class Answers(NamedTuple):
    """The outcomes of every attempt, by the way that it was made."""

    spec: PromptStudySpec
    found: Mapping[PromptWay, dict[PromptAttempt, PromptOutcome]]

    def of(self, way: PromptWay, label: str | None = None) -> list[PromptOutcome]:
        """Return the outcomes of one way, of one class or of all."""
        return [one for a, one in self.found.get(way, {}).items() if label is None or a.label == label]

    def gain(self, way: PromptWay) -> Estimate:
        """Return the success rate of the search less that of a control, on the same attempts, interval paired."""
        return outcomes.gain(self.found["search"], self.found[way])


def page(spec: PromptStudySpec) -> Page:
    """Return the page of a study whose trials are all done; copies its failures beside it."""
    answers = read(spec)
    source: PromptTask = next(iter(spec.tasks("search").values()))
    names = [one.failure for one in answers.of("search") if one.failure is not None]
    saved = failures.gather(source.folder / "failures", spec.folder / "failures", names)
    shown = table(answers)
    return Page(
        title=f"Seedquake: {spec.name}",
        question=spec.asks,
        verdict=verdict(answers),
        sentences=tuple(sentences(answers)),
        pictures=(
            Picture(
                "rates", "Share of attempts with a prompt whose pictures fail for ensemble and judge.", rates(answers)
            ),
            Picture(
                "fresh",
                "Share of fresh seeds that fail, with plain prompts and with those found, 95 %.",
                fresh(answers),
            ),
            *gallery("The plain prompt's picture above, the found one's on the same seed below", saved),
        ),
        tables={"attempts": attempts(answers), "rates": shown},
        shown=shown,
        heading="Every class",
        others={"The prompts found": prompts(answers)},
        facts=facts(spec, answers, saved),
        spec=spec.model_dump(mode="json"),
        numbers={f"{way}_success": outcomes.success_rate(answers.of(way)).value for way in answers.found},
    )


def read(spec: PromptStudySpec) -> Answers:
    """Return what is kept of every attempt."""
    found: dict[PromptWay, dict[PromptAttempt, PromptOutcome]] = {}
    for way in ("search", *spec.controls):
        found[way] = {attempt: one for task in spec.tasks(way).values() for attempt, one in task.done().items()}
    return Answers(spec, found)


def verdict(answers: Answers) -> str:
    """Return one sentence: how often a search finds a prompt that fails, and how often chance does."""
    rate = outcomes.success_rate(answers.of("search"))
    if not rate.n:
        return "Undecided: every plain prompt fails by itself, so there is nothing to search for."
    said = f"{interval(rate)} of {rate.n} searches find natural words that make the model fail"
    controls = [way for way in answers.found if way != "search"]
    if not controls:
        return f"{said}; there is no control."
    best = max(controls, key=lambda way: outcomes.success_rate(answers.of(way)).value)
    against = f"{WORDS[best]}, find some in {interval(outcomes.success_rate(answers.of(best)))}"
    gain = answers.gain(best)
    if gain.low > 0:
        return f"The search finds words that chance does not: {said}; {against}."
    return f"The search does no better than chance at this size: {said}; {against}."


def sentences(answers: Answers) -> Iterator[str]:
    """Yield what else a reader must know, a sentence each."""
    search = answers.of("search")
    natural = sum(one.natural for one in search)
    yield f"{natural} of {len(search)} plain prompts fail by themselves on their search's seeds; they do not count."
    yield (
        f"On seeds that no search has seen its prompts fail in {interval(fresh_rate(search))}, the plain ones in "
        f"{interval(fresh_rate(search, plain=True))}: {interval(fresh_gain(search), '+')}."
    )
    for way in answers.found:
        cost = outcomes.pictures_per_failure(answers.of(way))
        said = "no prompt found" if np.isnan(cost) else f"{cost:.0f} pictures a prompt found"
        more = "" if way == "search" else f"; the search finds {interval(answers.gain(way), '+')} more of the attempts"
        yield f"{WORDS[way].capitalize()}: {said}{more}."
    said, plain = interval(naturalness(search)), interval(naturalness(search, plain=True))
    yield f"Words of the found prompts have a log-probability of {said} nats on average, those of plain ones {plain}."
    if lost := sum(one.unconfirmed for one in search):
        yield f"{lost} found prompts hang on rounding: drawn alone their pictures did not fail, and they do not count."


def table(answers: Answers) -> pd.DataFrame:
    """Return a row a class, and one for all."""
    classes = answers.spec.classes or answers.spec.surrogate.labels
    return pd.DataFrame([row(answers, label) for label in (*classes, None)])


def row(answers: Answers, label: str | None) -> dict[str, str]:
    """Return what is known of one class."""
    search = answers.of("search", label)
    found = {
        WORDS[way].partition(",")[0]: interval(outcomes.success_rate(answers.of(way, label))) for way in answers.found
    }
    return {
        "class": label or "all",
        "searches": str(len(search)),
        **found,
        "plain, fresh seeds": interval(fresh_rate(search, plain=True)),
        "found, fresh seeds": interval(fresh_rate(search)),
    }


def prompts(answers: Answers) -> pd.DataFrame:
    """Return a row a prompt that the search has found, those first that fail on most fresh seeds."""
    found = sorted((one for one in answers.of("search") if one.success), key=lambda one: -sum(one.fresh))
    rows = [
        {
            "prompt": one.prompt,
            "log-probability a word": f"{one.said.per_word:.2f}",
            "fails on fresh seeds": f"{sum(one.fresh)} of {len(one.fresh)}",
            "plain prompt": f"{sum(one.plain_fresh)} of {len(one.plain_fresh)}",
            "pictures": str(one.evaluations),
        }
        for one in found
    ]
    return pd.DataFrame(
        rows, columns=["prompt", "log-probability a word", "fails on fresh seeds", "plain prompt", "pictures"]
    )


def attempts(answers: Answers) -> pd.DataFrame:
    """Return a row an attempt and way."""
    rows = []
    for way, found in answers.found.items():
        for attempt, one in found.items():
            said = {"way": way, "label": attempt.label, "target": attempt.target.canonical()}
            rest = one.model_dump(
                mode="json", include={"plain", "prompt", "evaluations", "natural", "success", "failure"}
            )
            fails = {"plain_fresh": sum(one.plain_fresh), "fresh": sum(one.fresh), "fresh_seeds": len(one.fresh)}
            rows.append({**said, "seeds": list(attempt.seeds), **rest, **fails, "log_p_per_word": one.said.per_word})
    return pd.DataFrame(rows)


def facts(spec: PromptStudySpec, answers: Answers, saved: list[failures.Saved]) -> dict[str, str]:
    """Return the facts of the page."""
    drawn = sum(one.evaluations for found in answers.found.values() for one in found.values())
    sampler = spec.search.sampler
    return {
        "Model": f"{spec.model}, {sampler.scheduler} {sampler.steps} steps, guidance {sampler.guidance:g}",
        "Size": f"{len(answers.of('search'))} searches on {spec.seeds} seeds each",
        "Language model": spec.search.language.model,
        "Ensemble": ", ".join(member.model for member in spec.surrogate.members),
        "Judge, unseen by the search": spec.surrogate.judge.model,
        "Pictures": f"{drawn:,} drawn in searches and controls",
        "Failures": f"{len(saved)} in {spec.folder / 'failures'}",
    }
