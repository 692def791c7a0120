"""Stored features -> FID and its kin of every cell, each with n and an interval, and those of real pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pipelines.quality import Place, Quality
from pipelines.quality_collect import Places, collect, halves, places_of, together
from pipelines.rows import cube
from pipelines.store import Store
from stages.metrics import Estimate, Mean
from stages.metrics.frechet import Reference
from stages.metrics.quality.classes import classifier_score
from stages.metrics.quality.collected import Collected
from stages.metrics.quality.distance import fid, fid_difference, fid_infinity, fixed
from stages.metrics.quality.kernel import kid
from stages.metrics.quality.manifold import precision_recall
from stages.metrics.quality.moments import merged

SCORES = ("FID", "FID at infinity", "KID", "precision", "recall", "classifier score", "CLIP score")
"""In the order of the table; the lower the better of the first three, the higher of the others."""


@dataclass(frozen=True)
class Real:
    """What drawn pictures are compared with."""

    features: np.ndarray
    """Of some, [n d]."""
    gaussian: Reference | None
    """Of all; None where they are fewer than the features."""


@dataclass(frozen=True)
class Cell:
    """One model under one sampler with one number of calls."""

    place: Place
    scores: Mapping[str, Estimate]
    to_sampler: Estimate | None
    """FID less that of the first sampler, same model and calls; None for the first."""
    to_model: Estimate | None
    """FID less that of the first model, same sampler and calls; None for the first."""
    to_others: Mapping[int, Estimate] = field(default_factory=dict)
    """FID less that of other models that were asked for, by their number."""


class QualityAnswers:
    """What the store holds of every cell, the statistics of one number of calls at a time."""

    def __init__(self, question: Quality, controls: Mapping[int, Sequence[int]] | None = None) -> None:
        """Read nothing yet; `controls` says which models some are compared with besides the first, by their numbers."""
        self.question, self.spec, self.controls = question, question.spec, controls or {}
        self.store = Store(question.spec.store)
        self.sampler_names = tuple(entry.name for entry in question.spec.samplers)

    @cached_property
    def halves(self) -> dict[int, Collected]:
        """Return the real pictures in the three sets of `halves`."""
        places = halves(self.question.reference.ids(), self.question.rows)
        kept = self.spec.groups, self.spec.kept
        return collect(self.store, self.question.reference.table, self.question.features.columns, places, kept)

    @cached_property
    def n_real(self) -> int:
        """Return the number of real pictures with features."""
        return sum(part.n for part in self.halves.values())

    @cached_property
    def real(self) -> Real | None:
        """Return the whole reference; None where nothing is measured."""
        return whole([part for part in self.halves.values() if part.n], self.spec.kept)

    @cached_property
    def floor(self) -> Mapping[str, Estimate]:
        """Return the scores of real pictures: as many as a cell has, of one half, against the other half."""
        drawn, other = (self.halves.get(number) for number in (0, 1))
        real = whole([other] if other and other.n else [], self.spec.kept)
        return {} if drawn is None or not drawn.n or real is None else scores(drawn, real, 0)

    @cached_property
    def cells(self) -> dict[Place, Cell]:
        """Return every cell in the order of the table."""
        found = {place: cell for calls in range(len(self.spec.nfe)) for place, cell in self._at(calls).items()}
        return {place: found[place] for place in self.question.places}

    def _at(self, calls: int) -> dict[Place, Cell]:
        """Return the cells of one number of calls: their statistics are in memory together, to be compared."""
        question, wanted = self.question, [place for place in self.question.places if place.nfe == calls]
        sets = [question.set_of(place) for place in wanted]
        kept = self.spec.groups, self.spec.kept
        found = collect(self.store, question.features.table, question.features.columns, self._places.only(sets), kept)
        empty = Collected(*kept)
        sides = {place: found.get(number, empty) for place, number in zip(wanted, sets, strict=True)}
        return {place: self._cell(place, sides) for place in wanted}

    def _cell(self, place: Place, sides: Mapping[Place, Collected]) -> Cell:
        first_sampler, first_model = place._replace(sampler=0), place._replace(model=0)
        others = {m: sides[place._replace(model=m)] for m in self.controls.get(place.model, ())}
        return Cell(
            place=place,
            scores=self._scores(place, sides[place]),
            to_sampler=self._to(sides[first_sampler], sides[place]) if place.sampler else None,
            to_model=self._to(sides[first_model], sides[place]) if place.model else None,
            to_others={model: self._to(side, sides[place]) for model, side in others.items()},
        )

    def _scores(self, place: Place, drawn: Collected) -> dict[str, Estimate]:
        missing = self.question.rows - drawn.n
        nothing = Estimate.missing(missing, "no picture has features", drawn.n)
        found = dict.fromkeys(SCORES[:-1], nothing)
        if drawn.n and self.real is not None:
            found = scores(drawn, self.real, missing)
        return found | ({"CLIP score": self._clip(place)} if self.question.clip else {})

    def _to(self, control: Collected, other: Collected) -> Estimate:
        if not control.n or not other.n or self.real is None:
            return Estimate.missing(self.question.rows, "no picture has features")
        missing = self.question.rows - min(control.n, other.n)
        return fid_difference(control.moments, other.moments, self.real.gaussian, missing)

    @cached_property
    def _places(self) -> Places:
        grids, size = self.question.grids, len(self.question.samplers)
        return together([places_of(self.store, grid, number * size) for number, grid in enumerate(grids)])

    def _clip(self, place: Place) -> Estimate:
        column = self._clip_scores[place.model]
        sampler = place.sampler * len(self.spec.nfe) + place.nfe
        return Mean().of(column[:, sampler].ravel().astype(np.float64))

    @cached_property
    def _clip_scores(self) -> list[np.ndarray]:
        """Return the CLIP scores of each model, [seeds samplers prompts]."""
        clip = self.question.clip
        if clip is None:
            return []
        name = clip.columns[0]
        found = [cube(self.store, grid, {clip.table: [name]}, ())[name] for grid in self.question.grids]
        return [
            column.reshape(grid.seeds.count, len(grid.samplers), len(grid.prompts))
            for column, grid in zip(found, self.question.grids, strict=True)
        ]

    @cached_property
    def best(self) -> list[Cell]:
        """Return the cell of lowest FID for each number of calls that has one."""
        found = []
        for calls in range(len(self.spec.nfe)):
            here = [c for p, c in self.cells.items() if p.nfe == calls and not np.isnan(c.scores["FID"].value)]
            found += [min(here, key=lambda c: c.scores["FID"].value)] if here else []
        return found


def whole(parts: Sequence[Collected], kept: int) -> Real | None:
    """Return what pictures are compared with, from parts that have some each."""
    if not parts:
        return None
    moments = merged([group for part in parts for group in part.moments])
    return Real(np.concatenate([part.kept for part in parts])[:kept], fixed(moments))


def scores(drawn: Collected, real: Real, missing: int) -> dict[str, Estimate]:
    """Return every score of the features of a set that has some."""
    near = precision_recall(drawn.kept, real.features, missing)
    found = (
        fid(drawn.moments, real.gaussian, missing),
        fid_infinity(drawn.moments, real.gaussian, missing),
        kid(drawn.kept, real.features, missing),
        near.precision,
        near.recall,
        classifier_score(drawn.classes, missing),
    )
    return dict(zip(SCORES[:-1], found, strict=True))
