"""What each search over prompts and each control came to, with how often its prompt fails on seeds it has not seen."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64
from pydantic import Field

from stages.base import Spec
from stages.metrics import Bootstrap, Estimate, Mean, paired_difference
from stages.metrics.clustered import share
from stages.metrics.estimate import Number
from tuning.sage.prompts.pictures import PromptAttempt


class Step(Spec):
    """A prompt on the way of a search."""

    prompt: str
    objective: float | None = Field(description="The mean loss over the seeds; null where it is not finite.")
    share: float = Field(ge=0, le=1, description="Of the seeds on which it fails.")


class Said(Spec):
    """How probable a text is to the language model; the fields are those of `Naturalness`."""

    per_word: Number
    words: int
    end: Number


class PromptOutcome(Spec):
    """What one attempt came to: searched for, or completed at random."""

    attempt: PromptAttempt
    plain: str = Field(description="The prompt that it started from.")
    prompt: str = Field(description="The accepted prompt, or the one of the largest loss.")
    evaluations: int = Field(ge=1, description="Pictures drawn, those on fresh seeds aside.")
    natural: bool = Field(description="Whether the plain prompt fails by itself, which no search can claim.")
    success: bool = Field(description="Whether a prompt was accepted; of a search, one that its redraw confirms.")
    failure: str | None = Field(None, description="Folder of a picture of it that fails, in `failures`.")
    unconfirmed: bool = Field(False, description="Whether no picture of it, drawn alone, was a failure any more.")
    path: tuple[Step, ...] = Field((), description="The plain prompt, and the prompt after each word; of a search.")
    plain_said: Said = Field(description="How probable the plain prompt is to the language model.")
    said: Said = Field(description="How probable `prompt` is.")
    plain_fresh: tuple[bool, ...] = Field(description="On which fresh seeds the plain prompt fails.")
    fresh: tuple[bool, ...] = Field(description="On which of them `prompt` fails.")
    seconds: float = Field(0.0, ge=0, description="Of the trial, shared evenly among what it drew.")

    @property
    def words(self) -> str:
        """What was appended."""
        return self.prompt.removeprefix(self.plain).strip()


def fresh_rate(outcomes: Sequence[PromptOutcome], plain: bool = False) -> Estimate:
    """Return the share of fresh seeds on which found prompts fail, or the plain ones; Wilson's interval, by attempt."""
    fails, clusters = _fresh(outcomes)
    return share(fails[0 if plain else 1], clusters)


def fresh_gain(outcomes: Sequence[PromptOutcome]) -> Estimate:
    """Return that share less the plain prompts' on the same seeds; its bootstrap draws attempts."""
    (plain, found), clusters = _fresh(outcomes)
    return paired_difference(plain, found, Bootstrap(), clusters)


def naturalness(outcomes: Sequence[PromptOutcome], plain: bool = False) -> Estimate:
    """Return the mean log-probability of a word of the found prompts, or of the plain ones, in nats."""
    said = [one.plain_said if plain else one.said for one in outcomes]
    return Mean().of(np.array([one.per_word for one in said], dtype=np.float64))


def _fresh(outcomes: Sequence[PromptOutcome]) -> tuple[Float64[np.ndarray, "2 n"], Int64[np.ndarray, " n"]]:
    """Return what fails on fresh seeds, of the plain prompts first, and the attempt of each."""
    tried = [one for one in outcomes if not one.natural]
    rows = [[fails for one in tried for fails in getattr(one, of)] for of in ("plain_fresh", "fresh")]
    numbers = [number for number, one in enumerate(tried) for _ in one.fresh]
    return np.array(rows, dtype=np.float64), np.array(numbers, dtype=np.int64)
