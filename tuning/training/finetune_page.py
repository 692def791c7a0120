"""The page that answers the fine-tuning question."""

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

import pandas as pd
from typing_extensions import override

from pipelines.figures import CONTROL, INK, JUDGE, sheet
from pipelines.report import Page, Picture, interval
from stages.metrics import Estimate
from tuning.training.drawn import Drawn
from tuning.training.finetune import KINDS, REPEATS, FinetuneSpec, Layers, Tuned
from tuning.training.scores import Score, Scores
from tuning.training.transition_figures import line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORDS = {
    "RP": "reproducibility: two fine-tunings of the same layers, the same noise",
    "RP, kinds": "all layers against attention alone, the same noise",
    "RP, optimal": "a model and the optimal denoiser of its training set, the same noise",
    "RP, start": "a fine-tuned model and the one that it started from, the same noise",
    "floor": "two fine-tunings of the same layers, independent noise: what chance gives",
    "GL": "generalization: the share that is not alike any training picture",
    "copies": "the share whose nearest training picture is 3 times nearer than the next, in pixels",
    "GL, unseen": "other pictures of the same kind: what a perfect model would score as GL",
}
CAPTION = (
    "{} noises a point, 95 % intervals, two fine-tunings of each kind; dotted: what chance or a perfect model gives."
)
PANELS = ("RP", "GL", "RP, optimal", "copies")


class FinetuneScores(Scores):
    """Every score of a fine-tuning study."""

    def __init__(self, spec: FinetuneSpec) -> None:
        super().__init__(spec.drawing, spec.counts)
        self.spec = spec

    @override
    def at(self, count: int) -> Iterator[Score]:
        optimal = self.drawn(self.spec.task(Tuned(count, None, 0)))
        tuned = {layers: self.repeats(count, layers) for layers in KINDS}
        for layers, (first, second) in tuned.items():
            yield self.pairs("RP", count, layers, [(first, second)])
            yield self.chance("floor", count, layers, [(first, second)])
            yield self.pairs("RP, optimal", count, layers, [(first, optimal), (second, optimal)])
            if start := self.start():
                yield self.pairs("RP, start", count, layers, [(first, start), (second, start)])
            yield self.novel("GL", count, layers, [first.nearest, second.nearest])
            yield self.copies(count, layers, [first, second])
        yield self.pairs("RP, kinds", count, "both", list(zip(*tuned.values(), strict=True)))
        yield self.novel("GL, unseen", count, "target", [optimal.unseen], noises=False)

    def repeats(self, count: int, layers: Layers) -> list[Drawn]:
        """Return what the models of one kind drew."""
        return [self.drawn(self.spec.task(Tuned(count, layers, repeat))) for repeat in REPEATS]

    def start(self) -> Drawn | None:
        """Return what the first model drew before it went on; None where another study trained it."""
        return None if self.spec.network.kind == "pretrained" else self.drawn(self.spec.base())


def page(spec: FinetuneSpec) -> Page:
    """Return the page of a study whose models have all drawn."""
    scores = FinetuneScores(spec)
    return Page(
        title=f"Seedquake: {spec.name}",
        question=spec.asks,
        verdict=verdict(scores),
        sentences=tuple(sentences(scores)),
        pictures=(Picture("finetune", CAPTION.format(spec.drawing.noises), curves(scores)),),
        tables={"scores": scores.table(WORDS), "distributions": scores.distributions()},
        shown=(table := shown(scores)),
        printed=printed(table),
        heading="Every size of the new training set",
        facts={"First training": spec.start(), "Then": f"{spec.tuning.pictures:,} pictures seen by each model"},
        spec=spec.model_dump(mode="json"),
        curves=scores.curves(),
    )


def verdict(scores: FinetuneScores) -> str:
    """Return one sentence: whether attention alone lowers RP and raises GL where there are fewest pictures."""
    novel, alike = (change(scores, kind, scores.counts[0]) for kind in ("GL", "RP"))
    said = (
        f"at N = {scores.counts[0]}, attention alone changes GL by {interval(novel, '+')}, RP by {interval(alike, '+')}"
    )
    if novel.low > 0 and alike.high < 0:
        return f"Reproduced at this size: {said}."
    if novel.high < 0 or alike.low > 0:
        return f"Contradicted at this size: {said}."
    return f"Undecided at this size: {said}."


def change(scores: FinetuneScores, kind: str, count: int) -> Estimate:
    """Return attention alone less all layers."""
    every, attention = (s for s in scores.of(kind) if s.count == count)
    return every.difference(attention)


def sentences(scores: FinetuneScores) -> Iterator[str]:
    """Yield what else a reader must know, a sentence each."""
    yield f"Alike means {scores.alike.text}; no number here compares with one of another descriptor."
    for count in scores.counts[1:]:
        novel, alike = (interval(change(scores, kind, count), "+") for kind in ("GL", "RP"))
        yield f"At N = {count}, attention alone changes GL by {novel} and RP by {alike}."
    kept = [f"{s.of}, N = {s.count}: {interval(s.estimate)}" for s in scores.of("RP, start")]
    if kept:
        yield f"The same noise still gives what the first model drew from it: {'; '.join(kept)}."
    floor = max((s.estimate for s in scores.of("floor")), key=lambda e: e.value)
    yield f"Independent noise: at most {interval(floor)} alike."


def shown(scores: FinetuneScores) -> pd.DataFrame:
    """Return the table as people read it: a row a size and kind."""
    rows = []
    for count, layers in product(scores.counts, KINDS):
        found = {s.kind: interval(s.estimate) for s in scores.all if s.count == count and s.of == layers}
        rows.append({"N": str(count), "layers": layers, **found})
    return pd.DataFrame(rows)


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """Return what the terminal shows of the table: intervals of the two scores that the verdict rests on."""
    short = table.apply(lambda column: column.str.partition(" ")[0])
    return short.assign(RP=table["RP"], GL=table["GL"])


def curves(scores: FinetuneScores) -> "Figure":
    """Return a panel a kind of score over the size of the new training set."""
    figure, axes = sheet(3.4 * len(PANELS), 2.8, 1, len(PANELS))
    controls = {"RP": "floor", "GL": "GL, unseen"}
    for axis, kind in zip(axes, PANELS, strict=True):
        lines = [
            ("all layers", scores.like(scores.of(kind)[0]), INK),
            ("attention", scores.like(scores.of(kind)[1]), JUDGE),
        ]
        for label, found, colour in lines:
            line(axis, found, colour, "-", label)
        if control := controls.get(kind):
            line(axis, scores.like(scores.of(control)[0]), CONTROL, ":", control)
        axis.set_xscale("log", base=2)
        axis.set_ylim(-0.03, 1.03)
        axis.set_title(kind, fontsize=9, loc="left")
        axis.set_xlabel("training pictures N", fontsize=8)
        axis.legend(frameon=False, fontsize=7)
    return figure
