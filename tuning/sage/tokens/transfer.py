"""TokenTransfer: whether a token found on some prompts and seeds works on others, beside what controls do there."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Int64

from stages.arrays import Clusters, Outcomes
from stages.metrics import Bootstrap, Estimate, functional, paired_difference, proportion_difference
from stages.metrics.clustered import clustered_proportion
from stages.metrics.estimate import widest
from tuning.sage.token import TokenSearch
from tuning.sage.tokens.controls import TokenControls
from tuning.sage.tokens.found import Shot, TokenControl, TokenFound, shots_of
from tuning.sage.tokens.pictures import Seen
from tuning.sage.tokens.vectors import VectorTests, nearest, vector_tests

if TYPE_CHECKING:
    from stages.sampling.prompts import Embeddings

Known: TypeAlias = Literal["train", "new"]
Arm: TypeAlias = Literal["plain", "found"] | TokenControl
"""What stands behind the prompts: nothing, the vector found, or a control."""

Rows: TypeAlias = Int64[np.ndarray, " n"]


class Cell(NamedTuple):
    """A quarter of the pictures: whether the search has seen their prompts, and their seeds."""

    prompts: Known
    seeds: Known


CELLS = (Cell("train", "train"), Cell("new", "train"), Cell("train", "new"), Cell("new", "new"))


class TransferRow(NamedTuple):
    """What one arm does in one cell; what its numbers are is said where `Transfer` computes them."""

    arm: Arm
    cell: Cell
    success: Estimate
    gain: Estimate
    clip: Estimate
    clip_change: Estimate


@dataclass(frozen=True, eq=False)
class Transfer:
    """What the pictures of every prompt and seed show, by what stands behind the prompts.

    They share prompts and seeds, so that every interval is the widest of those over clusters of either.
    """

    found: TokenFound
    tests: VectorTests
    nearest: list[str]
    """The tokens whose directions are nearest to that of the vector found."""
    shots: list[Shot]
    cells: list[Cell]
    """Of each picture."""
    seen: dict[Arm, Seen]
    evaluations: int
    """Pictures drawn, those of random search among them."""

    def success(self, arm: Arm, cell: Cell) -> Estimate:
        """Return the share of pictures in which members and judge see the target, with Wilson's interval."""
        rows = self.rows(cell)
        fails = self.seen[arm].fails[rows]
        return widest([clustered_proportion(fails, clusters) for clusters in self._clusters(rows)])

    def gain(self, arm: Arm, cell: Cell) -> Estimate:
        """Return the success less that of the plain prompts, picture by picture.

        Its interval is also no narrower than Bonett and Price's over pairs, which has a width where none changes.
        """
        rows = self.rows(cell)
        plain, other = self.seen["plain"].fails[rows], self.seen[arm].fails[rows]
        return widest([proportion_difference(plain, other), *self._differences(plain, other, rows)])

    def clip(self, arm: Arm, cell: Cell) -> Estimate:
        """Return the mean CLIP score, 0 to 100, of pictures and the texts of their prompts alone."""
        rows, bootstrap = self.rows(cell), Bootstrap()
        scores = self.seen[arm].clip[rows][None]
        return widest([functional(scores, lambda mean: mean[:, 0], bootstrap, c) for c in self._clusters(rows)])

    def clip_change(self, arm: Arm, cell: Cell) -> Estimate:
        """Return the CLIP score less that of the plain prompts, picture by picture."""
        rows = self.rows(cell)
        return widest(self._differences(self.seen["plain"].clip[rows], self.seen[arm].clip[rows], rows))

    def table(self) -> Iterator[TransferRow]:
        """Yield what every arm does in every cell."""
        for arm, cell in product(self.seen, CELLS):
            numbers = (of(arm, cell) for of in (self.success, self.gain, self.clip, self.clip_change))
            yield TransferRow(arm, cell, *numbers)

    def rows(self, cell: Cell) -> Rows:
        """Return which pictures are a cell's."""
        return np.array([row for row, one in enumerate(self.cells) if one == cell], dtype=np.int64)

    def _clusters(self, rows: Rows) -> list[Clusters]:
        texts = [self.shots[row].prompt.text for row in rows]
        return [np.unique(texts, return_inverse=True)[1], np.array([self.shots[row].seed for row in rows])]

    def _differences(self, plain: Outcomes, other: Outcomes, rows: Rows) -> list[Estimate]:
        return [paired_difference(plain, other, Bootstrap(), clusters) for clusters in self._clusters(rows)]


class TokenTransfer:
    """Draws a search's train and held-out prompts on its train and held-out seeds; call it on what it has found."""

    def __init__(self, search: TokenSearch) -> None:
        self.search, self.controls = search, TokenControls(search)

    def __call__(self, found: TokenFound) -> Transfer:
        """Return what the pictures show with nothing, each control, and the vector found behind the prompts."""
        whole, before = self.search.pictures, self.controls.evaluations
        drawn = self.cells(found)
        asked = [shot for _, shot in drawn]
        arms: dict[Arm, Embeddings | None] = {"plain": None}
        arms |= {control: self.controls(control, found, asked) for control in self.controls.of(found)}
        arms["found"] = torch.from_numpy(found.vector).expand(len(asked), -1, -1)
        return Transfer(
            found=found,
            tests=vector_tests(whole.space, found.vector),
            nearest=nearest(whole.space, found.vector),
            shots=asked,
            cells=[cell for cell, _ in drawn],
            seen={arm: whole.see(found.attempt.target, asked, behind) for arm, behind in arms.items()},
            evaluations=len(arms) * len(asked) + self.controls.evaluations - before,
        )

    def cells(self, found: TokenFound) -> list[tuple[Cell, Shot]]:
        """Return every picture that is drawn of a search, each with its cell."""
        attempt, spec = found.attempt, self.search.spec
        prompts = {"train": attempt.trained_on(spec.train), "new": attempt.tried_on(spec.held_out)}
        seeds = {"train": spec.train.seeds, "new": spec.held_out.seeds}
        return [(cell, shot) for cell in CELLS for shot in shots_of(prompts[cell.prompts], seeds[cell.seeds])]
