"""The page that answers the question of a search over latents."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipelines.report import Page, Picture, interval
from stages.metrics import Estimate
from tuning.sage import failures, outcomes
from tuning.sage.gallery import gallery
from tuning.sage.latent import Attempt
from tuning.sage.latents.elsewhere_page import ElsewhereAnswers
from tuning.sage.latents.figures import budgets, curves
from tuning.sage.latents.study import LatentStudySpec
from tuning.sage.latents.trial import LatentTask, Way
from tuning.sage.outcomes import Outcome
from tuning.sage.region.page import around

WORDS: dict[Way, str] = {
    "search": "gradient search",
    "fresh_seeds": "fresh seeds, as many pictures",
    "random_perturbations": "random perturbations of the seed, as many pictures",
}


class Answers(NamedTuple):
    """The outcomes of every attempt, by the way that it was made."""

    spec: LatentStudySpec
    found: Mapping[Way, dict[Attempt, Outcome]]

    def of(self, way: Way, label: str | None = None) -> list[Outcome]:
        """Return the outcomes of one way, of one class or of all."""
        return [one for a, one in self.found.get(way, {}).items() if label is None or a.label == label]

    def gain(self, way: Way) -> Estimate:
        """Return the success rate of the search less that of a control, on the same attempts, interval paired."""
        return outcomes.gain(self.found["search"], self.found[way])


def page(spec: LatentStudySpec) -> Page:
    """Return the page of a study whose trials are all done; copies its failures beside it."""
    answers = read(spec)
    saved = collect(spec, answers)
    shown, region = table(answers), around(spec.around(spec.region)) if spec.region else None
    elsewhere = ElsewhereAnswers(spec.abroad(spec.elsewhere).done()) if spec.elsewhere else None
    return Page(
        title=f"Seedquake: {spec.name}",
        question=spec.asks,
        verdict=verdict(answers),
        sentences=(*sentences(answers), *(part for each in (region, elsewhere) if each for part in each.sentences())),
        pictures=(
            Picture("rates", "Share of attempts with a valid failure that the judge confirms, 95 %.", budgets(answers)),
            Picture(
                "curves",
                "What each search maximised, picture by picture; a dot where it was accepted.",
                curves(answers),
            ),
            *([region.picture()] if region else []),
            *gallery("Found failures: the plain seed above, the found latent below", saved),
        ),
        tables={"attempts": attempts(answers), "rates": shown}
        | ({"region": region.table()} if region else {})
        | ({"elsewhere": elsewhere.table()} if elsewhere else {}),
        shown=shown,
        heading="Every class",
        facts=facts(spec, answers, saved),
        spec=spec.model_dump(mode="json"),
        numbers={f"{way}_success": outcomes.success_rate(answers.of(way)).value for way in answers.found},
    )


def read(spec: LatentStudySpec) -> Answers:
    """Return what is kept of every attempt."""
    found: dict[Way, dict[Attempt, Outcome]] = {}
    for way in ("search", *spec.controls):
        tasks = spec.tasks(way).values()
        found[way] = {attempt: one for task in tasks for attempt, one in task.done().items()}
    return Answers(spec, found)


def collect(spec: LatentStudySpec, answers: Answers) -> list[failures.Saved]:
    """Copy the failures of a study into its folder, and return them, the clearest first."""
    source: LatentTask = next(iter(spec.tasks("search").values()))
    names = [one.failure for one in answers.of("search") if one.failure is not None]
    return failures.gather(source.folder / "failures", spec.folder / "failures", names)


def verdict(answers: Answers) -> str:
    """Return one sentence: how often a search finds a failure, and how often chance does."""
    rate = outcomes.success_rate(answers.of("search"))
    if not rate.n:
        return "Undecided: every plain seed fails by itself, so there is nothing to search for."
    said = f"{interval(rate)} of {rate.n} searches find a likely seed that fails and that the judge confirms"
    if "fresh_seeds" not in answers.found:
        return f"{said}; there is no control."
    chance, gain = outcomes.success_rate(answers.of("fresh_seeds")), answers.gain("fresh_seeds")
    against = f"chance finds one in {interval(chance)} with as many pictures"
    if gain.low > 0:
        return f"The model has failures that a search finds and chance does not: {said}; {against}."
    return f"The search does no better than chance at this size: {said}; {against}."


def sentences(answers: Answers) -> Iterator[str]:
    """Yield what else a reader must know, a sentence each."""
    search = answers.of("search")
    natural = interval(outcomes.natural_rate(search), digits=3)
    yield f"Plain seeds fail by themselves in {natural}; these do not count as found."
    for way in answers.found:
        cost = outcomes.pictures_per_failure(answers.of(way))
        said = "no failure found" if np.isnan(cost) else f"{cost:.0f} pictures a failure"
        more = "" if way == "search" else f"; the search finds {interval(answers.gain(way), '+')} more of the attempts"
        yield f"{WORDS[way].capitalize()}: {said}{more}."
    left = outcomes.rejected_rate(search)
    yield f"NGR {interval(left)}: the share of searches whose first failing latent the tests of N(0, I) reject."
    if lost := sum(one.unconfirmed for one in search):
        yield f"{lost} found failures hang on rounding: drawn alone they were none, and they do not count."


def table(answers: Answers) -> pd.DataFrame:
    """Return a row a class, and one for all."""
    classes = answers.spec.classes or answers.spec.surrogate.labels
    return pd.DataFrame([row(answers, label) for label in (*classes, None)])


def row(answers: Answers, label: str | None) -> dict[str, str]:
    """Return what is known of one class."""
    search = answers.of("search", label)
    cost = outcomes.pictures_per_failure(search)
    rates = {
        WORDS[way].partition(",")[0]: interval(outcomes.success_rate(answers.of(way, label))) for way in answers.found
    }
    return {
        "class": label or "all",
        "searches": str(len(search)),
        "fail by themselves": interval(outcomes.natural_rate(search)),
        **rates,
        "pictures a failure": "-" if np.isnan(cost) else f"{cost:.0f}",
    }


def attempts(answers: Answers) -> pd.DataFrame:
    """Return a row an attempt and way."""
    rows = []
    for way, found in answers.found.items():
        for attempt, one in found.items():
            said = attempt.model_dump(mode="json") | {"target": attempt.target.canonical()}
            rows.append({"way": way, **said, **one.model_dump(exclude={"attempt", "curve"})})
    return pd.DataFrame(rows)


def facts(spec: LatentStudySpec, answers: Answers, saved: list[failures.Saved]) -> dict[str, str]:
    """Return the facts of the page."""
    drawn = sum(one.evaluations for found in answers.found.values() for one in found.values())
    sampler = spec.search.sampler
    return {
        "Model": f"{spec.model}, {sampler.scheduler} {sampler.steps} steps, guidance {sampler.guidance:g}",
        "Ensemble": ", ".join(member.model for member in spec.surrogate.members),
        "Judge, unseen by the search": spec.surrogate.judge.model,
        "Size": f"{len(answers.of('search'))} searches of {spec.seeds} seeds a class",
        "Pictures": f"{drawn:,} drawn",
        "Failures": f"{len(saved)} in {spec.folder / 'failures'}",
    }
