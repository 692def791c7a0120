"""PromptSearch: words that a language model would say next, appended one by one until the pictures fail."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tuning.sage.prompts.found import Candidate, Choice, PromptFound, PromptRow, PromptSearchSpec
from tuning.sage.prompts.gradient import ByGradient
from tuning.sage.prompts.growth import Growth
from tuning.sage.prompts.language import Words
from tuning.sage.prompts.pictures import PromptAttempt, PromptPictures, Shown
from tuning.sage.surrogate import Surrogate

if TYPE_CHECKING:
    from stages.models.generator import Stepwise


class PromptTick(NamedTuple):
    """What one round of pictures has brought."""

    ended: list[PromptFound]
    """The searches that it has ended."""
    pictures: int
    """Drawn so far, in all searches."""
    objective: float
    """The mean loss of the prompts so far, which a search maximises."""


class PromptSearch:
    """The search, over one generator and one ensemble; call it on any number of attempts.

    Searches go side by side and share batches; each depends on its attempt and on `batch` alone, as far as rounding in
    the network does not. A word is appended only where it raises the true loss, so that the loss rises with every word.
    """

    def __init__(
        self,
        spec: PromptSearchSpec,
        generator: "Stepwise",
        surrogate: Surrogate,
        words: Words,
        choice: Choice | None = None,
    ) -> None:
        self.spec, self.words = spec, words
        self.pictures = PromptPictures(spec, generator, surrogate)
        self.growth = Growth(spec, self.pictures, words)
        self.choice: Choice = choice or ByGradient(spec, self.pictures)

    def __call__(self, attempts: Sequence[PromptAttempt]) -> list[PromptFound]:
        """Return what was found, in the order of the attempts.

        Raises ValueError for a class or a target that is not in the label set, for a target that is the class, and for
        a prompt that the generator or the language model cannot read, or that leaves no room or no word to append.
        """
        ended = {one.attempt: one for tick in self.ticks(attempts) for one in tick.ended}
        return [ended[attempt] for attempt in attempts]

    def ticks(self, attempts: Sequence[PromptAttempt]) -> Iterator[PromptTick]:
        """Yield after every round of pictures; each search is among those that ended once. Raises as a call does."""
        rows = [PromptRow(PromptFound(attempt)) for attempt in dict.fromkeys(attempts)]
        for row in rows:
            self.growth.check(row.found.attempt, self.choice.vectors)
        self._begin(rows)
        active, on = rows, [row for row in rows if self._goes_on(row)]
        yield self._tick(rows, active, on)
        while on:
            for _ in self.choice(on):
                yield _tick(rows, [])
            self._append(on)
            active, on = on, [row for row in on if self._goes_on(row)]
            yield self._tick(rows, active, on)

    def _begin(self, rows: Sequence[PromptRow]) -> None:
        """Draw the plain prompts."""
        asked = [(row.found.attempt, self.spec.prompt(row.found.attempt.label)) for row in rows]
        for row, shown in zip(rows, self.pictures.see(asked), strict=True):
            row.found.verified_pictures += len(shown.values)
            row.found.path.append(shown)
            if row.found.path[0].share >= self.spec.share:
                row.found.natural, row.found.accepted = True, shown

    def _goes_on(self, row: PromptRow) -> bool:
        """Return whether a search looks for another word; if so, what it may be is in the row."""
        found, (attempt, text) = row.found, row.question
        if len(found.path) == len(found.considered) or not math.isfinite(found.path[-1].objective):
            return False  # no word has raised the loss, or there is none to raise
        if (found.accepted and self.spec.early_stop) or len(found.path) > self.spec.words or not self.spec.iterations:
            return False
        row.candidates = self.growth.candidates(text, attempt.label, self.choice.vectors)
        return bool(row.candidates)

    def _append(self, rows: Sequence[PromptRow]) -> None:
        """Draw what the first candidates of each row show, and append the best one if it raises the loss."""
        chosen = [(row, candidate) for row in rows for candidate in row.ranked[: self.choice.verify]]
        asked = [(row.found.attempt, f"{row.question[1]} {candidate.word}") for row, candidate in chosen]
        verified: dict[PromptRow, list[tuple[Candidate, Shown]]] = {row: [] for row in rows}
        for (row, candidate), shown in zip(chosen, self.pictures.see(asked), strict=True):
            row.found.verified_pictures += len(shown.values)
            verified[row].append((candidate._replace(objective=shown.objective), shown))
        for row, answers in verified.items():
            row.found.considered.append([*(c for c, _ in answers), *row.ranked[self.choice.verify :]])
            self._extend(row.found, [shown for _, shown in answers])

    def _extend(self, found: PromptFound, answers: Sequence[Shown]) -> None:
        finite = [shown for shown in answers if math.isfinite(shown.objective)]
        best = max(finite, key=lambda shown: shown.objective, default=None)
        if best is None or best.objective <= found.path[-1].objective:
            return
        found.path.append(best)
        if self.growth.accepts(best):
            found.accepted = best

    def _tick(self, rows: Sequence[PromptRow], active: Sequence[PromptRow], on: Sequence[PromptRow]) -> PromptTick:
        ended = [row.found for row in active if row not in on]
        for found in ended:
            found.naturalness = [self.words.naturalness(text) for text in (found.path[0].prompt, found.prompt)]
        return _tick(rows, ended)


def _tick(rows: Sequence[PromptRow], ended: list[PromptFound]) -> PromptTick:
    drawn = sum(row.found.evaluations for row in rows)
    return PromptTick(ended, drawn, float(np.mean([row.found.path[-1].objective for row in rows])))
