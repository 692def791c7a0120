"""Controls: what as many pictures find among prompts that no gradient has chosen."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stages.metrics import Estimate, Proportion
from stages.randomness import rng
from tuning.sage.prompts.found import Candidate, PromptRow, PromptSearchSpec
from tuning.sage.prompts.growth import Growth
from tuning.sage.prompts.language import Words
from tuning.sage.prompts.pictures import PromptAttempt, PromptPictures, Shown
from tuning.sage.surrogate import Surrogate

if TYPE_CHECKING:
    from stages.models.generator import Stepwise

REPEATS = 100
"""Draws in a row that the language model may spend on what it has said before."""


class AtRandom:
    """A choice of the search: candidates at random, as many as the gradient's pictures and its verification pay for."""

    def __init__(self, spec: PromptSearchSpec) -> None:
        self.vectors, self.verify = 1, spec.iterations + spec.verify

    def __call__(self, rows: Sequence[PromptRow]) -> Iterator[None]:
        """Rank the candidates of each row; draws nothing."""
        for row in rows:
            attempt, text = row.question
            scores = rng(attempt.seeds[0], "random candidates", text).random(len(row.candidates))
            pairs = zip(row.candidates, scores.tolist(), strict=True)
            ranked = [Candidate(word.text, word.log_p, score) for word, score in pairs]
            row.ranked = sorted(ranked, key=lambda candidate: -candidate.score)
        yield from ()


@dataclass
class Completed:
    """What a control has found in one attempt's budget."""

    attempt: PromptAttempt
    shown: list[Shown]
    """The plain prompt, then each completion, in the order drawn."""
    evaluations: int
    natural: bool
    """Whether the plain prompt fails by itself."""
    accepted: Shown | None
    """The completion of the largest loss among those that fail on the wanted share of seeds and are finished."""

    @property
    def best(self) -> Shown:
        """The prompt of the largest loss, the plain one where none has one."""
        return max(self.shown, key=lambda shown: -math.inf if math.isnan(shown.objective) else shown.objective)


class RandomCompletions:
    """The control of a search: completions that the language model draws, of as many words and of the same ones.

    Each goes on until the model ends it, offers nothing, or it is as long as the search may make it. Distinct ones are
    drawn on the attempt's seeds until the budget is spent, or the model repeats itself.
    """

    def __init__(self, spec: PromptSearchSpec, generator: "Stepwise", surrogate: Surrogate, words: Words) -> None:
        self.spec, self.words = spec, words
        self.pictures = PromptPictures(spec, generator, surrogate)
        self.growth = Growth(spec, self.pictures, words)

    def __call__(self, attempts: Sequence[PromptAttempt], evaluations: Sequence[int]) -> list[Completed]:
        """Return what at most `evaluations` pictures of each attempt find, in the order of the attempts.

        Raises ValueError as a search does, and for a budget below one picture a seed.
        """
        for attempt, budget in zip(attempts, evaluations, strict=True):
            self.growth.check(attempt, places=1)
            if budget < (least := len(attempt.seeds)):
                raise ValueError(
                    f"random completions: expected a budget of at least {least}, a picture a seed, found {budget}"
                )
        texts = [self.texts(one, budget // len(one.seeds)) for one, budget in zip(attempts, evaluations, strict=True)]
        asked = [(attempt, text) for attempt, some in zip(attempts, texts, strict=True) for text in some]
        shown = iter(self.pictures.see(asked))
        return [self._completed(one, [next(shown) for _ in some]) for one, some in zip(attempts, texts, strict=True)]

    def texts(self, attempt: PromptAttempt, count: int) -> list[str]:
        """Return the plain prompt and up to `count` - 1 distinct completions, in the order drawn."""
        plain = self.spec.prompt(attempt.label)
        found, draw, new = [plain], 0, 0
        while len(found) < count and draw - new < REPEATS:
            text = self._completion(plain, attempt.label, rng(attempt.seeds[0], "completion", plain, draw))
            draw += 1
            if text not in found:
                found, new = [*found, text], draw
        return found

    def _completion(self, plain: str, label: str, random: np.random.Generator) -> str:
        text = plain
        for _ in range(self.spec.words):
            words = self.growth.candidates(text, label, places=1)
            ending = self.words.end(text) if text != plain else -math.inf
            chances = np.exp([*(word.log_p for word in words), -math.inf if math.isnan(ending) else ending])
            if not chances.any() or (drawn := random.choice(len(chances), p=chances / chances.sum())) == len(words):
                break
            text = f"{text} {words[drawn].text}"
        return text

    def _completed(self, attempt: PromptAttempt, shown: list[Shown]) -> Completed:
        accepted = [one for one in shown[1:] if self.growth.accepts(one)]
        return Completed(
            attempt=attempt,
            shown=shown,
            evaluations=len(shown) * len(attempt.seeds),
            natural=shown[0].share >= self.spec.share,
            accepted=max(accepted, key=lambda one: one.objective, default=None),
        )


def random_success_rate(completed: Sequence[Completed]) -> Estimate:
    """Return the share of attempts in whose budget an accepted completion fell, with Wilson's interval.

    As in `success_rate`, attempts whose plain prompt fails by itself are counted as missing.
    """
    outcomes = [np.nan if one.natural else float(one.accepted is not None) for one in completed]
    return Proportion().of(np.array(outcomes, np.float64))
