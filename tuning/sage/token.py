"""TokenSearch: one free vector behind every prompt, with which the pictures show what the prompts do not ask for."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from tuning.sage.prompts.pictures import Vectors
from tuning.sage.surrogate import Surrogate
from tuning.sage.tokens.found import Check, Shot, Token, TokenAttempt, TokenFound, TokenSearchSpec, shots_of
from tuning.sage.tokens.pictures import Asked, TokenPictures
from tuning.sage.tokens.vectors import start, tokens_of, unit

if TYPE_CHECKING:
    from stages.models.clip import Clip
    from stages.models.generator import Stepwise


class TokenTick(NamedTuple):
    """What one iteration of every search has brought."""

    ended: list[TokenFound]
    """The searches that it has ended."""
    pictures: int
    """Drawn so far, in all searches."""
    objective: float
    """The mean loss over all train pictures, when they were drawn last; a search maximises it."""


@dataclass(eq=False)
class _Row:
    """A search under way."""

    found: TokenFound
    shots: list[Shot]  # all that it is trained on
    vector: Vectors

    @property
    def finite(self) -> bool:
        found = self.found
        return math.isfinite(found.checks[-1].objective) and all(map(math.isfinite, found.curve[-1:]))


class TokenSearch:
    """The search, over one generator and one ensemble; call it on any number of attempts.

    Liu et al. 2023 (arXiv:2306.00974), the universal token: its gradient is the mean over a minibatch of prompts and
    seeds. Searches go side by side and share batches; each depends on its attempt and on `batch` alone, as far as
    rounding in the network does not. Guidance sees the vector in the branch with the prompt only. Raises ValueError for
    a sampler that the gradient cannot follow, a model whose prompts take no vectors, and a start outside the box.
    """

    def __init__(
        self, spec: TokenSearchSpec, generator: "Stepwise", surrogate: Surrogate, clip: "Clip | None" = None
    ) -> None:
        self.spec = spec
        self.pictures = TokenPictures(spec, generator, surrogate, clip)
        by = unit(self.pictures.space, spec.scale)
        self.step, self.box = spec.step * by, spec.box * by
        self.start: Token = start(spec, self.pictures.space)

    def __call__(self, attempts: Sequence[TokenAttempt]) -> list[TokenFound]:
        """Return what was found, in the order of the attempts.

        Raises ValueError for a class or a target that is not in the label set, for a target that is the class, for an
        attempt without prompts, and for a prompt that the generator cannot read or that leaves no room.
        """
        ended = {one.attempt: one for tick in self.ticks(attempts) for one in tick.ended}
        return [ended[attempt] for attempt in attempts]

    def ticks(self, attempts: Sequence[TokenAttempt]) -> Iterator[TokenTick]:
        """Yield after every iteration; each search is among those that ended once. Raises as a call does."""
        self.check(attempts)
        rows = [self._row(attempt) for attempt in dict.fromkeys(attempts)]
        self._look(rows, 0)
        active = rows
        for iteration in range(self.spec.iterations + 1):
            last = iteration == self.spec.iterations
            on = [row for row in active if row.finite and not last]
            ended, drawn = [row.found for row in active if row not in on], sum(row.found.evaluations for row in rows)
            yield TokenTick(ended, drawn, float(np.mean([row.found.checks[-1].objective for row in active])))
            if not (active := on):
                return
            self._climb(active, iteration)

    def check(self, attempts: Sequence[TokenAttempt]) -> None:
        """Refuse attempts that cannot be judged or drawn; raises ValueError."""
        spec, whole = self.spec, self.pictures
        for attempt in attempts:
            attempt.check(spec, whole.surrogate.labels)
            word = attempt.word if "target_word" in spec.controls else None
            places = len(tokens_of(whole.space, word)) if word else 1
            for prompt in (*attempt.trained_on(spec.train), *attempt.tried_on(spec.held_out)):
                whole.generator.check_prompt(prompt.text)
                whole.space.check(prompt.text, places)

    def _row(self, attempt: TokenAttempt) -> _Row:
        trained = shots_of(attempt.trained_on(self.spec.train), self.spec.train.seeds)
        return _Row(TokenFound(attempt, self.start), trained, torch.from_numpy(self.start))

    def _climb(self, rows: Sequence[_Row], iteration: int) -> None:
        """Take one sign step up the gradient of each row's minibatch, in the box; check it where that is due."""
        asked = [Asked(row.found.attempt.target, self.spec.chosen(row.shots, iteration), row.vector) for row in rows]
        for row, one, slope in zip(rows, asked, self.pictures.slopes(asked), strict=True):
            row.found.gradient_pictures += len(one.shots)
            finite = bool(slope.gradient.isfinite().all())
            row.found.curve.append(slope.objective if finite else math.nan)
            if finite:
                row.vector = (row.vector + self.step * slope.gradient.sign()).clamp(-self.box, self.box)
        done = iteration + 1
        if done % self.spec.check_every == 0 or done == self.spec.iterations:
            self._look([row for row in rows if row.finite], done)

    def _look(self, rows: Sequence[_Row], iteration: int) -> None:
        """Draw all train pictures of each row."""
        for row in rows:
            behind = row.vector.expand(len(row.shots), 1, -1)
            seen = self.pictures.see(row.found.attempt.target, row.shots, behind)
            row.found.checked_pictures += len(row.shots)
            check = Check(iteration, row.vector.numpy(), float(seen.losses.mean()), float(seen.fails.mean()))
            row.found.see(check, self.spec.keep)
