"""The page that answers which settings draw best in few calls."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pydantic import JsonValue

from pipelines.figures import COLOURS, CONTROL, sheet
from pipelines.report import Page, Picture, interval
from pipelines.tables import columns_of
from stages.metrics import Estimate
from tuning.training.diffusion.fid import Drawn, read
from tuning.training.diffusion.judging import DIVERGED, Judged
from tuning.training.diffusion.tune import AdversarialTuneSpec
from tuning.training.diffusion.tune_space import METHODS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SYMBOLS = {"passes": "K", "step": "alpha"}
"""The paper's, for settings that are called like a count, or like nothing in particular."""
CAPTION = "Mean FID of every trial at its checkpoints, over how much of its budget it has had; grey: the fine-tuned."


@dataclass(frozen=True)
class Trial:
    """One trial of the search, as far as it came."""

    settings: dict[str, JsonValue]
    task: Judged

    @cached_property
    def curve(self) -> dict[int, Drawn]:
        """Return what it drew, by minibatches."""
        return {step: read(self.task, step) for step in self.task.reached()}

    @property
    def step(self) -> int:
        """Return the minibatches after which it last drew; 0 where it never did."""
        return max(self.curve, default=0)

    @property
    def ended(self) -> bool:
        """Return whether it went to its end."""
        return self.step == self.task.model.minibatches

    @property
    def fate(self) -> str:
        """Return what became of it."""
        if self.ended:
            return "ended"
        return "diverged" if (self.task.folder / DIVERGED).is_file() else "stopped early"

    def found(self) -> dict[str, Estimate]:
        """Return its last distances, the mean over cells first."""
        if not self.curve:
            return {"FID": Estimate.missing(0, "never drew")}
        return distances(self.curve[self.step])


@dataclass(frozen=True, eq=False)
class Found:
    """What every trial came to, and what the best and its controls draw from fresh noises."""

    trials: list[Trial]
    """Those that ended first, and the best of them first."""
    fresh: dict[str, Drawn]
    before: dict[str, Drawn]
    """The best and the fine-tuned, from the noises of the search."""

    @property
    def change(self) -> Estimate:
        """Return the best less the fine-tuned, from fresh noises."""
        return self.fresh["best"].less(self.fresh["fine-tuned"])


def gathered(spec: AdversarialTuneSpec) -> Found:
    """Read what a study left."""
    trials = [Trial(*found) for found in spec.trials().values()]
    order = {id(one): one.found()["FID"].value for one in trials}
    trials.sort(key=lambda one: (not one.ended, np.nan_to_num(order[id(one)], nan=np.inf)))
    fresh = {name: read(task) for name, task in spec.compared().items()}
    before = {"best": read(spec.best()[1]), "fine-tuned": read(spec.task({"method": "none"}))}
    return Found(trials, fresh, before)


def page(spec: AdversarialTuneSpec) -> Page:
    """Return the page of a study whose trials have ended."""
    found, (settings, best) = gathered(spec), spec.best()
    varied = tuple(spec.space.ranges())
    trials = pd.DataFrame([cells(one, varied) for one in found.trials])
    compared = spec.compared().items()
    fresh = pd.DataFrame([fresh_row(name, task, found) for name, task in compared])
    return Page(
        title=f"Seedquake: {spec.name}",
        question=spec.asks,
        verdict=verdict(found, settings),
        sentences=tuple(sentences(spec, found)),
        pictures=(Picture("trials", CAPTION, curves(spec, found)),),
        tables={"trials": trials, "fresh": fresh},
        shown=pd.DataFrame([shown(one, varied) for one in found.trials]),
        heading="Every trial: those that ended first, the best first",
        others={f"From {spec.fresh} fresh noises": pd.DataFrame([shown_fresh(*one, found) for one in compared])},
        facts={
            "Best model": str(best.folder / "model"),
            "Registered": spec.registered or "no",
            "Features": spec.judging.extractor.model,
            "Real pictures": spec.judging.reference,
        },
        spec=spec.model_dump(mode="json"),
        numbers={f"FID, {name}": drawn.value for name, drawn in found.fresh.items()} | {"change": found.change.value},
    )


def verdict(found: Found, settings: Mapping[str, JsonValue]) -> str:
    """Return one sentence: what the best settings gain on plain fine-tuning of an equal budget."""
    said = f"mean FID {interval(found.change, '+')} to plain fine-tuning, from fresh noises"
    chosen = ", ".join(f"{name} = {short(value)}" for name, value in named(settings).items())
    if twin := next((name for name in found.fresh if name.endswith("updates")), None):
        said += f", {interval(found.fresh['best'].less(found.fresh[twin]), '+')} to {twin.removeprefix('best, ')}"
    if found.change.high < 0:
        return f"Better than plain fine-tuning with {chosen}: {said}."
    if found.change.low > 0:
        return f"No trial is better than plain fine-tuning; the best, {chosen}: {said}."
    return f"Undecided at this size; the best, {chosen}: {said}."


def sentences(spec: AdversarialTuneSpec, found: Found) -> Iterator[str]:
    """Yield what else a reader must know, a sentence each."""
    ended = sum(one.ended for one in found.trials)
    flattered = found.before["best"].less(found.before["fine-tuned"])
    yield (
        f"The best of {len(found.trials)} trials, {ended} of which ended, looks better than it is: from the noises "
        f"that it was chosen by {interval(flattered, '+')}, from fresh ones {interval(found.change, '+')}."
    )
    yield f"All have the same number of {spec.equal}, up to the last minibatch."
    for name, drawn in found.fresh.items():
        if name not in {"best", "fine-tuned"}:
            yield f"The best less {name.removeprefix('best, ')}: {interval(found.fresh['best'].less(drawn), '+')}."
    yield f"FID falls with the number of pictures: only those from {spec.fresh} noises compare with each other."


def cells(one: Trial, varied: Sequence[str]) -> dict[str, object]:
    """Return a trial as a row of the stored table; of the settings that vary, one that does not apply is missing."""
    settings = named({name: one.settings.get(name) for name in varied})
    row: dict[str, object] = {**settings, **costs(one.task, one.step), "trial": one.fate}
    for name, estimate in one.found().items():
        row |= columns_of(name, estimate)
    return row


def shown(one: Trial, varied: Sequence[str]) -> dict[str, object]:
    """Return the same as people read it."""
    found = one.found()
    settings = {name: short(value) for name, value in named({n: one.settings.get(n, "-") for n in varied}).items()}
    said = {name: interval(estimate) for name, estimate in found.items()}
    return {**settings, **costs(one.task, one.step), **said, "n": found["FID"].n, "trial": one.fate}


def fresh_row(name: str, task: Judged, found: Found) -> dict[str, object]:
    """Return a row of the stored table of fresh noises."""
    row: dict[str, object] = {"model": name, **costs(task, task.model.minibatches)}
    for cell, estimate in distances(found.fresh[name]).items():
        row |= columns_of(cell, estimate)
    return row | columns_of("best_less_this", found.fresh["best"].less(found.fresh[name]))


def shown_fresh(name: str, task: Judged, found: Found) -> dict[str, object]:
    """Return the same as people read it."""
    drawn, best = found.fresh[name], found.fresh["best"]
    said = {cell: interval(estimate) for cell, estimate in distances(drawn).items()}
    change = "-" if name == "best" else interval(best.less(drawn), "+")
    counts = costs(task, task.model.minibatches)
    return {"model": name, **counts, **said, "best less this": change, "n": drawn.mean().n}


def distances(drawn: Drawn) -> dict[str, Estimate]:
    """Return the mean over cells, and that of each cell."""
    return {"FID": drawn.mean(), **{f"FID, {name}": drawn.fid(name) for name in drawn.cells}}


def costs(task: Judged, step: int) -> dict[str, int]:
    """Return the three counts after so many minibatches."""
    found = task.counts(step)
    return {name: int(found[name]) for name in ("minibatches", "updates", "passes")}


def named(settings: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return settings by the names that the page has for them."""
    return {SYMBOLS.get(name, name): value for name, value in settings.items()}


def short(value: object) -> object:
    """Return a value as people read it: a fraction by its first three digits; the stored table keeps them all."""
    return f"{value:.3g}" if isinstance(value, float) else value


def curves(spec: AdversarialTuneSpec, found: Found) -> "Figure":
    """Return the mean FID of every trial over its progress, coloured by method."""
    figure, (axis,) = sheet(7, 3.4, 1, 1)
    colours, known = dict(zip(METHODS, COLOURS, strict=False)), set[str]()
    for one in found.trials:
        method = str(one.settings["method"])
        x = [one.task.counts(step)["pictures"] / one.task.worth for step in one.curve]
        y = [drawn.value for drawn in one.curve.values()]
        label = None if method in known else method
        axis.plot(x, y, "-", color=colours[method], marker="o", markersize=3, linewidth=1, alpha=0.7, label=label)
        known.add(method)
    axis.axhline(found.before["fine-tuned"].value, color=CONTROL, linestyle=":", label="fine-tuned")
    axis.set_xlabel(f"share of the equal number of {spec.equal}", fontsize=8)
    axis.set_ylabel(f"mean FID of {spec.judging.noises}", fontsize=8)
    axis.legend(frameon=False, fontsize=8)
    return figure
