"""What kind of failure one is: a taxonomy of our own, decided by rules from what is recorded of it.

Liu et al. 2023 (arXiv:2306.00974) sort natural prompts into ten types by eye. These are not theirs: each rule reads the
prompt and what classifiers saw, and tells what they show, not what went on inside the model.
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from pydantic import Field

from stages.base import Spec
from stages.models.zoo.sentences import NUMBERS, PLACES, SIZES, SURFACES
from stages.models.zoo.world import BACKGROUND_COLOURS, COLOURS
from tuning.sage.failures import Failure
from tuning.sage.people.labelling import NOTHING

SURE = 0.5
"""Probability from which on a classifier counts as having recognised something."""


class Vocabulary(Spec):
    """The words that the rules look for in prompts."""

    classes: tuple[str, ...] = Field(
        description="The label set; of several names between commas, the first is looked for."
    )
    backgrounds: tuple[str, ...] = ("background", *SURFACES, *BACKGROUND_COLOURS)
    numbers: tuple[str, ...] = NUMBERS
    sizes: tuple[str, ...] = SIZES
    places: tuple[str, ...] = (*PLACES, "next to", "beside", "behind", "in front of", "above", "below", "under")
    colours: tuple[str, ...] = COLOURS


class Sight(NamedTuple):
    """What one classifier saw."""

    name: str
    p: float


@dataclass(frozen=True)
class Evidence:
    """What is recorded of a failure, as rules read it."""

    failure: Failure
    vocabulary: Vocabulary
    people: str | None = None
    """What most raters see; None where none is asked or they are of no one mind."""

    @cached_property
    def added(self) -> str:
        """What the search has put behind the prompt that it started from; the whole prompt if it has changed that."""
        prompt, before = self.failure.prompt, self.failure.before
        return "" if prompt == before else prompt.removeprefix(f"{before} ")

    @cached_property
    def others(self) -> list[str]:
        """The classes besides the prompt's that the added words name."""
        return [
            one for one in self.vocabulary.classes if one != self.failure.label and self.says([one.partition(",")[0]])
        ]

    @cached_property
    def sights(self) -> list[Sight]:
        """What members and judge saw, the judge's last."""
        seen = self.failure.seen
        return [sight(text) for role, text in sorted(seen.items(), key=lambda item: item[0] == "judge")]

    @property
    def judge(self) -> Sight:
        """What the judge saw."""
        return sight(self.failure.seen.get("judge", ""))

    def says(self, words: Iterable[str]) -> bool:
        """Return whether one of the words, or its plural, is among the added ones."""
        return any(re.search(rf"\b{re.escape(word)}(?:s|es)?\b", self.added, re.IGNORECASE) for word in words)


class Cause(NamedTuple):
    """A kind of failure."""

    name: str
    searches: tuple[str, ...]
    """Those whose failures it may explain."""
    sentence: str
    """What its rule asks, as the page says it."""
    holds: Callable[[Evidence], bool]


PROMPT, LATENT, TOKEN = ("prompt",), ("latent", "seed"), ("token",)

CAUSES = (
    Cause(
        "Composition dropping",
        PROMPT,
        "The added words name a second thing, and the judge sees that one instead of the first.",
        lambda e: e.judge.name in e.others,
    ),
    Cause(
        "Entity blending",
        PROMPT,
        "The added words name a second thing, and the judge sees neither of the two.",
        lambda e: bool(e.others) and e.judge.name not in {*e.others, e.failure.label},
    ),
    Cause(
        "Context dominance",
        PROMPT,
        "The added words tell of the background.",
        lambda e: e.says(e.vocabulary.backgrounds),
    ),
    Cause("Counting", PROMPT, "The added words give a number.", lambda e: e.says(e.vocabulary.numbers)),
    Cause("Size or scale conflict", PROMPT, "The added words give a size.", lambda e: e.says(e.vocabulary.sizes)),
    Cause(
        "Position or relation",
        PROMPT,
        "The added words say where the thing is, or how it stands to another.",
        lambda e: e.says(e.vocabulary.places),
    ),
    Cause("Attribute binding", PROMPT, "The added words give a colour.", lambda e: e.says(e.vocabulary.colours)),
    Cause(
        "Nothing recognisable",
        LATENT,
        f"Every member and the judge give their best class less than {SURE:g}, or most raters recognise nothing.",
        lambda e: e.people == NOTHING or {one.p < SURE for one in e.sights} == {True},
    ),
    Cause(
        "Distorted",
        LATENT,
        f"The judge gives its best class less than {SURE:g}.",
        lambda e: e.judge.p < SURE,
    ),
    Cause(
        "Another class, natural looking",
        LATENT,
        f"Every member and the judge name one other class, the same, each with {SURE:g} or more, as in pictures of it.",
        lambda e: (
            {(one.name, one.p >= SURE) for one in e.sights} == {(e.judge.name, True)}
            and e.judge.name != e.failure.label
        ),
    ),
    Cause(
        "Target drawn",
        TOKEN,
        "The judge sees the class that the token was made for, which the prompt does not name.",
        lambda e: e.judge.name == getattr(e.failure.target, "target", None),
    ),
)
"""Every rule, in the order in which they are asked; the first that holds names the cause."""

UNEXPLAINED = Cause("Unexplained", (), "No rule holds.", lambda _: True)


def causes(evidence: Evidence) -> list[Cause]:
    """Return every cause whose rule holds, the one that counts first; `UNEXPLAINED` alone where none does."""
    asked = [cause for cause in CAUSES if evidence.failure.search in cause.searches]
    return [cause for cause in asked if cause.holds(evidence)] or [UNEXPLAINED]


def sight(text: str) -> Sight:
    """Return what `failures.seen` wrote, as in 'fish 0.98', apart; the probability is NaN where there is none."""
    name, _, number = text.rpartition(" ")
    return Sight(name, float(number)) if re.fullmatch(r"\d\.\d+", number) else Sight(text, math.nan)
