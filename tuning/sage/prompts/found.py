"""What a search over prompts is told, what it keeps of each search under way, and what it finds."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from pydantic import Field

from stages.metrics import Estimate, Proportion
from tuning.sage.prompts.language import LanguageSpec, Naturalness
from tuning.sage.prompts.pictures import PicturesSpec, PromptAttempt, Shown

if TYPE_CHECKING:
    from stages.models.language import Word


class PromptSearchSpec(PicturesSpec):
    """How prompts are searched: Liu et al. 2023 (arXiv:2306.00974); iterations, step and box as in its pseudo-code."""

    template: str = Field("a photo of {article} {label}", pattern=r"\{label\}", description="The plain prompt.")
    language: LanguageSpec = LanguageSpec()
    words: int = Field(3, ge=0, le=20, description="Most words that are appended.")
    iterations: int = Field(
        100, ge=0, le=100_000, description="Gradients at each word, a picture a seed each; 0 appends nothing."
    )
    step: float = Field(0.05, gt=0, description="Length of a step in every entry of the vectors.")
    box: float = Field(2.5, gt=0, description="Largest |entry| of the vectors.")
    scale: Literal["absolute", "rms"] = Field(
        "absolute", description="Unit of step and box: 1, or the root mean square of the entries of the token table."
    )
    future: bool = Field(True, description="Also let a vector stand for the words after the next one, the paper's [y].")
    selection: Literal["gradient", "nearest"] = Field(
        "gradient",
        description="Which candidates are verified: those that the loss rises towards to first order, or those nearest "
        "to the vector found.",
    )
    verify: int = Field(8, ge=1, le=10_000, description="Candidates whose own pictures are drawn at each word.")
    share: float = Field(1.0, gt=0, le=1, description="Share of seeds on which a prompt must fail to be accepted.")
    early_stop: bool = Field(True, description="Stop at the first accepted prompt; else look for a clearer one.")
    finished: float = Field(
        0.0, ge=0, lt=1, description="Least probability that an accepted text ends where it does; 0 takes any."
    )

    def prompt(self, label: str) -> str:
        """Return the plain prompt of a class."""
        return self.template.format(article="an" if label[0] in "aeiou" else "a", label=label)


class Candidate(NamedTuple):
    """A word that was considered."""

    word: str
    log_p: float
    """Of the language model, in nats."""
    score: float
    """What it was chosen by for verification; larger first."""
    objective: float = math.nan
    """The true loss with the word in the prompt; NaN of one that was not verified."""


@dataclass
class PromptFound:
    """What one search has found, and what that took."""

    attempt: PromptAttempt
    path: list[Shown] = field(default_factory=list)
    """The plain prompt, and the prompt after each word; the objective rises from one to the next."""
    considered: list[list[Candidate]] = field(default_factory=list)
    """The candidates for each word, those verified first; the last ones added none if they are as many as the path."""
    natural: bool = False
    """Whether the plain prompt fails by itself, which no search can claim."""
    accepted: Shown | None = None
    """The last prompt of the path that fails on the wanted share of seeds and is finished; the plain one always is."""
    gradient_pictures: int = 0
    """Pictures drawn with a gradient; what one costs is `Gradient.cost`."""
    verified_pictures: int = 0
    """Pictures drawn without, those of the plain prompt among them."""
    naturalness: list[Naturalness] = field(default_factory=list)
    """Of the plain prompt and of `shown`."""

    @property
    def curve(self) -> list[float]:
        """The true loss of the plain prompt, and after each word."""
        return [shown.objective for shown in self.path]

    @property
    def evaluations(self) -> int:
        """Pictures drawn."""
        return self.gradient_pictures + self.verified_pictures

    @property
    def shown(self) -> Shown:
        """The accepted prompt, or the one of the largest loss."""
        return self.accepted or self.path[-1]

    @property
    def prompt(self) -> str:
        """The text of `shown`."""
        return self.shown.prompt


@dataclass(eq=False)
class PromptRow:
    """A search under way."""

    found: PromptFound
    candidates: "list[Word]" = field(default_factory=list)
    """The next words that the language model offers and that have room."""
    ranked: list[Candidate] = field(default_factory=list)
    """The candidates in the order of a `Choice`."""

    @property
    def question(self) -> tuple[PromptAttempt, str]:
        """The attempt and the prompt so far."""
        return self.found.attempt, self.found.path[-1].prompt


@runtime_checkable
class Choice(Protocol):
    """How the candidates that are verified are chosen."""

    vectors: int
    """Vectors that it puts behind a prompt."""
    verify: int
    """How many candidates are verified, from the first on."""

    def __call__(self, rows: Sequence[PromptRow]) -> Iterator[None]:
        """Rank the candidates of each row, and yield after every round of pictures that this takes."""


def success_rate(found: Sequence[PromptFound]) -> Estimate:
    """Return SSR(A): the share of searches with an accepted prompt, with Wilson's interval.

    Over the plain prompts that do not fail by themselves; those that do are counted as missing.
    """
    outcomes = [np.nan if one.natural else float(one.accepted is not None) for one in found]
    return Proportion().of(np.array(outcomes, np.float64))


def seed_success_rate(found: PromptFound) -> Estimate:
    """Return the share of a search's seeds on which its prompt fails, with Wilson's interval.

    Seeds on which the plain prompt fails by itself are counted as missing. The search has chosen the prompt on these
    seeds; `PromptPictures.failure_rate` on fresh ones says how often it fails.
    """
    pairs = zip(found.shown.fails, found.path[0].fails, strict=True)
    return Proportion().of(np.array([np.nan if plain else float(fails) for fails, plain in pairs], np.float64))
