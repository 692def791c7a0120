"""What can be said of a scene of the image world: claims, the captions that make them, and how a caption may go on.

A caption is about the main thing. It leaves out and never denies: `a photo of a red star` is true of a picture with two
red stars, and of one with a blue fish beside them; `a photo of a blue fish` is not.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Int64

from stages.models.zoo.world import BACKGROUND_COLOURS, CLASSES, COLOURS

UNSAID = -1
NUMBERS = ("one", "two", "three")
SIZES = ("small", "large")
PLACES = ("on the left", "on the right", "at the top", "at the bottom", "in the centre")
JOINERS = ("next to", "and", "with")
SURFACES = ("plain", "gradient", "striped", "checked", "dotted")
PLURALS = {name: {"fish": "fish", "cross": "crosses"}.get(name, f"{name}s") for name in CLASSES}
VALUES = {
    "shape": CLASSES,
    "colour": COLOURS,
    "number": NUMBERS,
    "size": SIZES,
    "place": PLACES,
    "joiner": JOINERS,
    "other_shape": CLASSES,
    "other_colour": COLOURS,
    "tone": BACKGROUND_COLOURS,
    "surface": SURFACES,
}
"""What each claim may say, in the order of the fields of `Claims`."""

Said = Int64[np.ndarray, "..."]


@dataclass(frozen=True)
class Claims:
    """What captions claim, a number each: its place in `VALUES`, or `UNSAID`. The thing's shape is always said."""

    shape: Said
    colour: Said
    number: Said
    size: Said
    place: Said
    joiner: Said  # said exactly where another thing is
    other_shape: Said
    other_colour: Said
    tone: Said
    surface: Said


def texts(claims: Claims) -> list[str]:
    """Return the captions that make the claims."""
    columns = [getattr(claims, name).tolist() for name in VALUES]
    return [_text([words[n] if n != UNSAID else "" for words, n in _named(row)]) for row in zip(*columns, strict=True)]


def parse(captions: Sequence[str]) -> Claims:
    """Return what captions claim; raises ValueError for a text that this grammar does not make."""
    rows = np.array([_parsed(text) for text in captions], np.int64).reshape(-1, len(VALUES))
    return Claims(*np.ascontiguousarray(rows.T))


def following(text: str) -> tuple[str, ...]:
    """Return the words that may come next after a text whose thing is named, complete or in the middle of a phrase."""
    if (start := re.match(rf"{THING}(?= |$)", text)) is None:
        raise ValueError(f"scenes: expected a text that begins as 'a photo of a red star' does, found {text!r}")
    return tuple(sorted(_next(text[start.end() :].split(), ENDINGS)))


def _next(words: list[str], slots: Sequence[Sequence[str]]) -> set[str]:
    found: set[str] = set()
    for number, phrases in enumerate(slots):
        for phrase in (text.split() for text in phrases):
            if len(phrase) > len(words):
                found |= {phrase[len(words)]} if phrase[: len(words)] == words else set()
            elif words[: len(phrase)] == phrase:
                found |= _next(words[len(phrase) :], slots[number + 1 :])
    return found


def _named(row: Sequence[int]) -> Iterable[tuple[tuple[str, ...], int]]:
    return zip(VALUES.values(), row, strict=True)


def _text(words: Sequence[str]) -> str:
    shape, colour, number, size, place, joiner, other_shape, other_colour, tone, surface = words
    thing = _joined(size, colour, shape if number in {"", "one"} else PLURALS[shape])
    main = f"{number} {thing}" if number else _with_article(thing)
    other = _other(joiner, other_colour, other_shape) if other_shape else ""
    return _joined("a photo of", main, place, other, _background(tone, surface))


def _other(joiner: str, colour: str, shape: str) -> str:
    return f"{joiner} {_with_article(_joined(colour, shape))}"


def _background(tone: str, surface: str) -> str:
    return _joined("on a", tone, surface, "background") if tone or surface else ""


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _parsed(text: str) -> list[int]:
    match = re.fullmatch(THING + ENDING, text)
    words = match.groupdict(default="") if match else {"shape": ""}
    words["shape"] = {many: one for one, many in PLURALS.items()}.get(words["shape"], words["shape"])
    if match is None or _text([words[name] for name in VALUES]) != text:
        raise ValueError(f"scenes: expected a caption such as 'a photo of two red stars at the top', found {text!r}")
    return [known.index(words[name]) if words[name] else UNSAID for name, known in VALUES.items()]


def _one_of(name: str, words: Iterable[str]) -> str:
    return f"(?P<{name}>{'|'.join(words)})"


OTHERS = tuple(_other(*words) for words in product(JOINERS, ("", *COLOURS), CLASSES))
BACKGROUNDS = tuple(
    filter(None, (_background(*words) for words in product(("", *BACKGROUND_COLOURS), ("", *SURFACES))))
)
ENDINGS = (PLACES, OTHERS, BACKGROUNDS)
"""What may follow `a photo of a red star`: at most one phrase of each list, in this order."""

THING = (
    rf"a photo of (?:an?|{_one_of('number', NUMBERS)})(?: {_one_of('size', SIZES)})?"
    rf"(?: {_one_of('colour', COLOURS)})? {_one_of('shape', dict.fromkeys((*CLASSES, *PLURALS.values())))}"
)
ENDING = (
    rf"(?: {_one_of('place', PLACES)})?"
    rf"(?: {_one_of('joiner', JOINERS)} an?(?: {_one_of('other_colour', COLOURS)})? {_one_of('other_shape', CLASSES)})?"
    rf"(?: on a(?: {_one_of('tone', BACKGROUND_COLOURS)})?(?: {_one_of('surface', SURFACES)})? background)?"
)
