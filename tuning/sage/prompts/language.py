"""Words: what a language model would say next, less what would change the thing that a prompt asks for."""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydantic import Field

from stages.base import Spec
from stages.models.source import fingerprint

if TYPE_CHECKING:
    from stages.models.language import LanguageModel, Word
    from stages.models.spec import ModelSpec

NEGATIONS = ("no", "not", "without", "never", "neither", "nor", "none", "nothing", "except")
TEXTS_KEPT = 4096


class LanguageSpec(Spec):
    """Which language model proposes words, and which of them a search may append."""

    model: str = Field(
        "zoo:scenes-lm",
        min_length=1,
        description="A causal language model of transformers: zoo:NAME, a folder or a hub id.",
    )
    top: int = Field(50, ge=1, le=10_000, description="Candidates: the most probable next words, excluded ones too.")
    least: float = Field(1e-4, ge=0, lt=1, description="Least probability of a candidate.")
    tokens: int = Field(4, ge=1, le=16, description="Most tokens of a word, of the language model's.")
    exclude: tuple[str, ...] = Field(
        NEGATIONS, description="Words that are never appended, beside the prompt's own class and its plural."
    )
    allow_other_classes: bool = Field(
        False, description="Also append the other classes of the label set: '... next to a blue fish'."
    )

    def weights(self) -> str:
        """Return the fingerprint of the model."""
        return fingerprint(self.model, "transformers")


class Naturalness(NamedTuple):
    """How probable a text is to a language model."""

    per_word: float
    """Mean log-probability of its words, in nats."""
    words: int
    end: float
    """Log-probability that it ends there, in nats: low in the middle of a phrase. NaN where the model knows no end."""


class Words:
    """What may be appended to the prompts of a label set. What a text is followed by is kept."""

    def __init__(self, spec: LanguageSpec, model: "LanguageModel", labels: Sequence[str]) -> None:
        self.spec, self.model, self.labels = spec, model, tuple(labels)
        self._next = lru_cache(TEXTS_KEPT)(
            lambda text: tuple(model.next_words(text, spec.top, spec.least, spec.tokens))
        )
        self.end = lru_cache(TEXTS_KEPT)(model.end)
        """The log-probability in nats that a text ends there."""

    def after(self, text: str, label: str) -> "list[Word]":
        """Return the candidates after a text about the class `label`, the most probable first.

        Raises ValueError for a text that the language model cannot read.
        """
        excluded = self.excluded(label)
        return [word for word in self._next(text) if word.text.lower() not in excluded]

    def excluded(self, label: str) -> set[str]:
        """Return the words that are not appended to a prompt about the class `label`, in lower case."""
        classes = [label] if self.spec.allow_other_classes else [label, *self.labels]
        return {word.lower() for word in self.spec.exclude} | {form for name in classes for form in forms(name)}

    def naturalness(self, text: str) -> Naturalness:
        """Return how probable a text is; raises ValueError as `after` does."""
        words = self.model.log_probabilities(text)
        known = [log_p for log_p in words if not math.isnan(log_p)]
        return Naturalness(float(np.mean(known)) if known else math.nan, len(words), self.end(text))


def load_words(spec: LanguageSpec, labels: Sequence[str], where: "ModelSpec") -> Words:
    """Return the words of `spec`, loaded; `where` gives device, type and threads, its model is not read."""
    from stages.models.language import load_language_model

    return Words(spec, load_language_model(where.model_copy(update={"model": spec.model})), labels)


def forms(label: str) -> Iterator[str]:
    """Yield the nouns of a class and their plurals, in lower case; names between commas are synonyms.

    The noun of 'golden retriever' is its last word; 'golden' may still be appended to another prompt.
    """
    for name in label.lower().split(","):
        if words := name.split():
            noun = words[-1]
            yield noun
            yield f"{noun}es" if noun.endswith(("s", "x", "z", "ch", "sh")) else f"{noun}s"
            if noun.endswith("y"):
                yield f"{noun[:-1]}ies"
