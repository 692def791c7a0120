"""Arms x factors -> cells: which model is sampled how in each, and which of them cannot be."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Literal

import numpy as np
from pydantic import Field, JsonValue, ValidationError

from pipelines.named_model import NamedModel
from stages.base import Spec
from stages.metrics.factorial import Design
from stages.models.feasible import noising, refusal
from stages.models.outline import outline
from stages.sampling import SamplerSpec
from stages.sampling.spec import SchedulerName

SPACES = ("latent", "pixel")
VARIANCES = ("fixed", "learned")


class Change(Spec):
    """The settings of the sampler that a level of a factor changes; what is null stays as it is."""

    scheduler: SchedulerName | None = None
    steps: int | None = Field(None, gt=0, le=1000)
    guidance: float | None = Field(None, ge=0)
    eta: float | None = Field(None, ge=0, le=1)
    spacing: Literal["model", "leading", "trailing", "linspace"] | None = None
    terminal_snr: Literal["trained", "zero"] | None = None

    @property
    def given(self) -> dict[str, JsonValue]:
        """Return the settings that it changes."""
        return {name: value for name, value in self if value is not None}


class Arm(NamedModel):
    """One model of the comparison, and the levels of the factors that its weights fix."""

    sampler: SamplerSpec | None = Field(None, description="Its own sampler; null: the common one.")
    levels: dict[str, str] = Field({}, description="Its level of each factor that is the model's, not the sampler's.")


@dataclass(frozen=True)
class Cell:
    """One model under one sampler."""

    arm: int
    name: str
    model: str
    sampler: SamplerSpec
    levels: tuple[str, ...]
    """Of every factor, in the order of the factors."""
    refused: str | None
    """Why it cannot be drawn; None where nothing is known against it."""

    @cached_property
    def sigma(self) -> float:
        """Return the standard deviation of a channel's mean over the seeds, in those of an entry."""
        shape = outline(self.model).latent_shape(self.sampler.size_px)
        if shape is None:
            raise ValueError(
                f"arms, {self.name}: expected a model whose files say how large its latent is, since strengths are "
                "compared in standard deviations of a channel's mean, found none that are understood; set size_px"
            )
        return float(1 / np.sqrt(shape[1] * shape[2]))


@dataclass(frozen=True)
class Factors:
    """Every factor and its two levels, those of the models first."""

    levels: dict[str, tuple[str, str]]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the factors."""
        return tuple(self.levels)

    def design(self, cells: Sequence[Cell]) -> Design:
        """Return which level each cell has; models that no factor tells apart are blocks of their own."""
        numbers = [[self.levels[f].index(own) for f, own in zip(self.names, c.levels, strict=True)] for c in cells]
        levels = np.array(numbers, dtype=np.int64).reshape(len(cells), len(self.names))
        seen = [tuple(c.levels) for c in cells]
        apart = len(set(seen)) < len(seen)
        return Design(self.names, levels, np.array([c.arm if apart else 0 for c in cells], dtype=np.int64))


def factors_of(arms: Sequence[Arm], changes: Mapping[str, Mapping[str, Change]]) -> Factors:
    """Return the factors of a design; `ValueError` where one has not two levels, or an arm not what it says."""
    for arm in arms:
        refuse_levels(arm)
    named = {factor: None for arm in arms for factor in arm.levels}
    for arm in arms:
        if missing := [factor for factor in named if factor not in arm.levels]:
            raise ValueError(
                f"arms, {arm.called}: expected a level of every factor of the models, found none of {missing[0]!r}; "
                "add it to its levels"
            )
    if both := [factor for factor in changes if factor in named]:
        raise ValueError(f"factors, {both[0]}: expected a factor of the sampler, found one of the arms' levels")
    found = {factor: tuple(dict.fromkeys(arm.levels[factor] for arm in arms)) for factor in named}
    found |= {factor: tuple(levels) for factor, levels in changes.items()}
    pairs = {factor: (levels[0], levels[1]) for factor, levels in found.items() if len(levels) == 2}
    for factor, levels in found.items():
        if factor not in pairs:
            raise ValueError(f"factors, {factor}: expected two levels, found {len(levels)} ({', '.join(levels)})")
    return Factors(pairs)


def cells_of(arms: Sequence[Arm], changes: Mapping[str, Mapping[str, Change]], common: SamplerSpec) -> tuple[Cell, ...]:
    """Return every cell, the arms outermost; raises `ValueError` for cells that are one."""
    refuse_fields(changes)
    order = tuple(arms[0].levels)
    cells = tuple(cell for n, arm in enumerate(arms) for cell in cells_of_arm(n, arm, order, changes, common))
    refuse_twice(arms, cells)
    return cells


def cells_of_arm(
    number: int, arm: Arm, order: Sequence[str], changes: Mapping[str, Mapping[str, Change]], common: SamplerSpec
) -> Iterator[Cell]:
    """Yield the cells of one arm, its own levels in `order`: every combination of the sampler's levels."""
    known = noising(arm.model)
    for combination in product(*(levels.items() for levels in changes.values())):
        names = tuple(level for level, _ in combination)
        settings = (arm.sampler or common).model_dump()
        for _, change in combination:
            settings |= change.given
        called = ", ".join([arm.called, *names])
        try:
            sampler = SamplerSpec.model_validate(settings)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ValueError(f"factors: cell {called!r} has no sampler: {reason}") from None
        refused = refusal(known, sampler) if known else None
        yield Cell(number, called, arm.model, sampler, (*(arm.levels[f] for f in order), *names), refused)


def refuse_fields(changes: Mapping[str, Mapping[str, Change]]) -> None:
    """Raise `ValueError` where a factor changes nothing, or two change the same setting."""
    owners: dict[str, str] = {}
    for factor, levels in changes.items():
        fields = {field for change in levels.values() for field in change.given}
        if not fields:
            raise ValueError(f"factors, {factor}: expected settings of the sampler that it changes, found none")
        for field in sorted(fields):
            if field in owners:
                raise ValueError(
                    f"factors: expected every setting in one factor, found {field} in {owners[field]} and {factor}"
                )
            owners[field] = factor


def refuse_levels(arm: Arm) -> None:
    """Raise `ValueError` where a model's files contradict the space or the variance that an arm states."""
    stated = {"space": SPACES, "variance": VARIANCES}
    known = noising(arm.model)
    own = {
        "space": "latent" if outline(arm.model).pixels > 1 else "pixel",
        "variance": None if known is None else "learned" if known.learned else "fixed",
    }
    for factor, level in arm.levels.items():
        if factor in stated and level not in stated[factor]:
            raise ValueError(
                f"arms, {arm.called}: expected {factor} to be {' or '.join(stated[factor])}, found {level!r}"
            )
        if own.get(factor) not in {None, level}:
            raise ValueError(
                f"arms, {arm.called}: expected {factor}: {own[factor]}, as the model's files have it, found {level!r}"
            )


def refuse_twice(arms: Sequence[Arm], cells: Sequence[Cell]) -> None:
    """Raise `ValueError` where cells could not be told apart, or would be the same samples."""
    if twice := [name for name, times in Counter(arm.called for arm in arms).items() if times > 1]:
        raise ValueError(f"arms: expected a name of its own for each, found {twice[0]!r} twice; set `name`")
    seen: dict[tuple[str, str], str] = {}
    for cell in cells:
        key = (cell.model, cell.sampler.canonical())
        if key in seen:
            raise ValueError(f"arms: expected every model and sampler once, found {seen[key]!r} again as {cell.name!r}")
        seen[key] = cell.name
    levels = Counter(tuple(sorted(arm.levels.items())) for arm in arms if arm.levels)
    if levels and max(levels.values()) > 1:
        one = ", ".join(f"{factor} {level}" for factor, level in levels.most_common(1)[0][0])
        raise ValueError(f"arms: expected every combination of levels once, found {one} twice")
