"""The table of what the models of a study draw, and how much some differ from others."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TypeAlias

import pandas as pd

from pipelines.quality import Place, Quality
from pipelines.quality_answers import Cell, QualityAnswers
from pipelines.report import clear, interval
from stages.metrics import Estimate

Pair: TypeAlias = tuple[str, str]
"""The name of a model that is compared, and that of its control."""


class Compared:
    """The table of a study's models, some of which are compared with others from the same noise."""

    def __init__(self, question: Quality, pairs: Iterable[tuple[str, str]]) -> None:
        """`pairs` names each model that is compared, and its control."""
        self.names = question.names
        number = {name: at for at, name in enumerate(self.names)}
        self.pairs = [(number[one], number[other]) for one, other in pairs]
        controls: dict[int, list[int]] = {}
        for one, other in self.pairs:
            controls.setdefault(one, []).append(other)
        self.answers = QualityAnswers(question, controls)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the tables as people read them by their headings: FID, CLIP score if there is one, differences."""
        extractor = self.answers.question.extractor.name
        found = {f"FID by sampler and calls; features of {extractor}": self._wide(lambda cell: cell.scores["FID"])}
        if self.answers.question.clip:
            found["CLIP score by sampler and calls"] = self._wide(lambda cell: cell.scores["CLIP score"])
        for one, other in self.pairs:
            heading = f"FID of {self.names[one]} less that of {self.names[other]}, same noise"
            found[heading] = self._wide(partial(_less, other), one)
        return found

    def sentences(self) -> Iterator[str]:
        """Yield in how many cells each model that is compared is better and worse than each control, where in any."""
        alike = 0
        for one, other in self.pairs:
            changes = self.changes(one, other)
            better, worse = sum(e.high < 0 for e in changes), sum(e.low > 0 for e in changes)
            alike += not better + worse
            if better + worse:
                yield (
                    f"{self.names[one]} less {self.names[other]}: the FID is lower in {better}, higher in {worse} of "
                    f"{len(changes)} cells (95 % intervals, each for itself)."
                )
        if alike:
            yield f"In {alike} of {len(self.pairs)} comparisons the FID differs clearly in no cell."

    def changes(self, model: int, control: int) -> list[Estimate]:
        """Return the differences in FID of a model to its control, cell by cell."""
        return [cell.to_others[control] for cell in self.answers.cells.values() if cell.place.model == model]

    def change(self, pair: tuple[str, str], sampler: str, calls: int) -> Estimate:
        """Return the difference in FID of one cell."""
        one, other = map(self.names.index, pair)
        at = Place(one, self.answers.sampler_names.index(sampler), self.answers.spec.nfe.index(calls))
        return self.answers.cells[at].to_others[other]

    def _wide(self, of: Callable[[Cell], Estimate], only: int | None = None) -> pd.DataFrame:
        """Return a row a model and sampler, a column a number of calls; of one model with signs."""
        rows: dict[tuple[int, int], dict[str, str]] = {}
        for place, cell in self.answers.cells.items():
            if only not in {None, place.model}:
                continue
            named = {} if only is not None else {"model": self.names[place.model]}
            row = rows.setdefault(place[:2], named | {"sampler": self.answers.sampler_names[place.sampler]})
            row[f"{self.answers.spec.nfe[place.nfe]} calls"] = interval(of(cell), "" if only is None else "+")
        return pd.DataFrame(rows.values())


def _less(control: int, cell: Cell) -> Estimate:
    return cell.to_others[control]


def compared_rows(
    pairs: Iterable[Pair], change: Callable[[Pair], Estimate], title: str, digits: int = 2
) -> pd.DataFrame:
    """Return a row a comparison as people read it."""
    found = {pair: change(pair) for pair in pairs}
    return pd.DataFrame(
        {"model": one, "control": other, title: interval(e, "+", digits=digits), "n": e.n}
        for (one, other), e in found.items()
    )


def told(changes: Mapping[Pair, Estimate], sentence: Callable[[str, str, Estimate], str], what: str) -> Iterator[str]:
    """Yield a sentence on each comparison whose change is clear, then one on those that say nothing, if any."""
    for (one, other), change in changes.items():
        if clear(change):
            yield sentence(one, other, change)
    if alike := sum(not clear(change) for change in changes.values()):
        yield f"In {alike} of {len(changes)} comparisons {what} does not differ clearly; all are in the tables."
