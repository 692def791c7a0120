"""A richer grammar of the image world: scenes of one to three copies of a thing, at times beside another, smaller one.

As in `world`, everything is a function of the index alone, and an index is the same bits on every machine and in every
batch. What captions may say is in `sentences`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np
from jaxtyping import Bool

from stages.models.zoo import world
from stages.models.zoo.sentences import JOINERS, NUMBERS, PLACES, SIZES, UNSAID, VALUES, Claims, texts
from stages.models.zoo.world import (
    CLASSES,
    COLOURS,
    PATTERNS,
    TONES,
    Backgrounds,
    Integers,
    Random,
    Reals,
    Renders,
    Scene,
    Things,
    array,
    between,
    choice,
)

SMALL, MEDIUM, LARGE = range(3)
LEFT, RIGHT, TOP, BOTTOM, CENTRE, ANYWHERE = range(len(PLACES) + 1)
SCALES = np.array([[0.32, 0.36], [0.44, 0.50], [0.58, 0.68]], np.float32)
"""Range of the half width of a small, a medium and a large thing."""
CROWDED = 0.84
"""How much smaller each of several copies is."""
SPACING = 2.1
"""Distance between the centres of two copies, in half widths of one."""
ASIDE, CENTRAL = 0.25, 0.15
"""Beyond how far from the middle a thing is on that side, and within how far it is in the centre."""
REACH = 1.06
"""How far silhouettes reach from their middle, in half widths."""
AWAY = 9.0
"""Where things are that a picture does not show."""
SURFACE_OF = np.array([0, 1, 2, 2, 3, 4])
"""The word for each of the world's patterns: stripes and bands are both striped."""

labels, colours = world.labels, world.colours


@dataclass(frozen=True)
class Group:
    """The copies of the main thing in each of b pictures: a column on the left and on the right, else a row."""

    number: Integers  # of NUMBERS
    size: Integers
    place: Integers
    scale: Reals
    x: Reals  # of its middle
    y: Reals
    column: Bool[np.ndarray, " b"]


@dataclass(frozen=True)
class Others:
    """The other thing in each of b pictures."""

    shown: Bool[np.ndarray, " b"]
    shape: Integers
    colour: Integers
    scale: Reals
    x: Reals
    y: Reals


def captions(indices: Iterable[SupportsIndex]) -> list[str]:
    """Return the caption of each index."""
    return texts(claims(indices))


def claims(indices: Iterable[SupportsIndex]) -> Claims:
    """Return what the caption of each index says; about a third say no more than thing and colour."""
    index = array(indices)
    group, other = _group(index), _others(index)
    background = _background(index)
    rich = between(index, Random.RICH, 0.0, 1.0) >= 0.27

    def said(field: Random, share: float | Reals, value: Integers, sayable: Bool[np.ndarray, " b"] = rich) -> Integers:
        return np.where(sayable & (between(index, field, 0.0, 1.0) < share), value, UNSAID)

    several = np.where(group.number > 0, np.float32(0.7), np.float32(0.25))
    beside = said(Random.SAY_OTHER, 0.8, other.shape, rich & other.shown)
    return Claims(
        shape=labels(index),
        colour=said(Random.SAY_COLOUR, 0.8, colours(index), np.ones_like(rich)),
        number=said(Random.SAY_NUMBER, several, group.number),
        size=said(Random.SAY_SIZE, 0.5, group.size // 2, rich & (group.size != MEDIUM)),
        place=said(Random.SAY_PLACE, 0.65, group.place, rich & (group.place != ANYWHERE)),
        joiner=np.where(beside != UNSAID, choice(index, Random.JOINER, len(JOINERS)), UNSAID),
        other_shape=beside,
        other_colour=said(Random.SAY_OTHER_COLOUR, 0.75, other.colour, beside != UNSAID),
        tone=said(Random.SAY_TONE, 0.35, background.colour),
        surface=said(Random.SAY_SURFACE, 0.35, SURFACE_OF[background.pattern]),
    )


def true_of(indices: Iterable[SupportsIndex], claims: Claims) -> Bool[np.ndarray, "picture caption"]:
    """Return which caption is true of which picture."""
    index = array(indices)
    across = Claims(**{name: getattr(claims, name)[None, :] for name in VALUES})
    return _holds(_facts(index, (-1, 1)), _places(index)[:, None, :], across)


def holds(indices: Iterable[SupportsIndex], claims: Claims) -> Bool[np.ndarray, " b"]:
    """Return whether each caption is true of its own picture."""
    index = array(indices)
    return _holds(_facts(index, (-1,)), _places(index), claims)


def scene(indices: Iterable[SupportsIndex]) -> Scene:
    """Return what each index shows: the other thing behind, and three copies in front; those not shown are `AWAY`."""
    index = array(indices)
    group, other = _group(index), _others(index)
    turn, shade = between(index, Random.TURN, -0.12, 0.12), between(index, Random.SHADE, 0.1, 0.35)
    behind = Things(other.shape, other.colour, other.x, other.y, other.scale, -turn, shade)
    copies = []
    for number in range(len(NUMBERS)):
        shift = (np.float32(number) - group.number.astype(np.float32) / 2) * SPACING * group.scale
        x = np.where(group.column, group.x, group.x + shift)
        y = np.where(group.column, group.y + shift, group.y)
        x = np.where(group.number >= number, x, np.float32(AWAY))
        copies.append(Things(labels(index), colours(index), x, y, group.scale, turn, shade))
    return Scene(_background(index), (behind, *copies))


def render(indices: Iterable[SupportsIndex], block: int = 16) -> Renders:
    """Return the picture of each index. Those that show as many things are drawn together, in small blocks."""
    index = array(indices)
    pictures = np.empty((len(index), world.PIXELS, world.PIXELS, 3), np.uint8)
    order = np.argsort(_group(index).number * 2 + _others(index).shown, kind="stable")
    for start in range(0, len(index), block):
        rows = order[start : start + block]
        whole = scene(index[rows])
        pictures[rows] = world.draw(Scene(whole.background, tuple(t for t in whole.things if (t.x < AWAY).any())))
    return pictures


def _group(index: Integers) -> Group:
    chance = between(index, Random.NUMBER, 0.0, 1.0)
    number = (chance >= 0.68).astype(np.int64) + (chance >= 0.86)
    size = np.minimum(choice(index, Random.SIZE, len(SCALES)), LARGE - number)  # so that all copies have room
    place = np.minimum(choice(index, Random.PLACE, 8), ANYWHERE)
    low, high = SCALES[size].T
    scale = low + between(index, Random.SCALE, 0.0, 1.0) * (high - low)
    scale = np.where(number > 0, scale * np.float32(CROWDED), scale)
    column = (place == LEFT) | (place == RIGHT)
    room = 1 - scale * np.float32(REACH)
    room_along = room - scale * number.astype(np.float32) * np.float32(SPACING / 2)
    x = _position(index, Random.X, place - LEFT, place, np.where(column, room, room_along))
    y = _position(index, Random.Y, place - TOP, place, np.where(column, room_along, room))
    return Group(number, size, place, scale, x, y, column)


def _position(index: Integers, field: Random, side: Integers, place: Integers, room: Reals) -> Reals:
    """Return a coordinate: near the far end of the room at side 0 and 1, near the middle at another named place."""
    chance = between(index, field, -1.0, 1.0)
    far = np.float32(0.3) + (chance + 1) / 2 * (room - np.float32(0.3))
    near = chance * np.minimum(np.where(place == CENTRE, np.float32(0.1), np.float32(0.2)), room)
    return np.select([side == 0, side == 1, place == ANYWHERE], [-far, far, chance * room], near)


def _others(index: Integers) -> Others:
    """Return the other things: beside the main one, on the side that has more room."""
    group = _group(index)
    shown = (group.size != SMALL) & (between(index, Random.OTHER, 0.0, 1.0) < 0.55)
    scale = np.minimum(group.scale * between(index, Random.OTHER_SCALE, 0.6, 0.66), np.float32(0.34))
    side = choice(index, Random.OTHER_SIDE, 12)
    direction = np.where(group.size == LARGE, 2, side // 4)  # across, down, or both
    direction = np.select([group.number == 0, group.column], [direction, np.zeros_like(side)], np.ones_like(side))
    reach, most = group.scale + scale, 1 - scale * np.float32(REACH)
    x, y = (
        np.minimum(np.maximum(middle + away * step[direction] * reach, -most), most)
        for middle, away, step in (
            (group.x, _away(group.x, side % 2), np.array([1, 0, 0.75], np.float32)),
            (group.y, _away(group.y, side // 2 % 2), np.array([0, 1, 0.75], np.float32)),
        )
    )
    return Others(
        shown=shown,
        shape=(labels(index) + 1 + choice(index, Random.OTHER_SHAPE, len(CLASSES) - 1)) % len(CLASSES),
        colour=(colours(index) + 1 + choice(index, Random.OTHER_COLOUR, len(COLOURS) - 1)) % len(COLOURS),
        scale=scale,
        x=np.where(shown, x, np.float32(AWAY)),
        y=y,
    )


def _away(middle: Reals, side: Integers) -> Reals:
    """Return the sign of the side with more room; near the middle, of a chosen one."""
    positive = np.where(np.abs(middle) < CENTRAL, side == 1, middle < 0)
    return np.where(positive, np.float32(1), np.float32(-1))


def _background(index: Integers) -> Backgrounds:
    """Return backgrounds as the world's, in a narrower light, so that their colours can be told."""
    return Backgrounds(
        colour=choice(index, Random.TONE, len(TONES)),
        pattern=choice(index, Random.PATTERN, len(PATTERNS)),
        light=between(index, Random.LIGHT, 0.9, 1.1),
        period_px=between(index, Random.PERIOD, 12.0, 22.0),
        phase=between(index, Random.PHASE, 0.0, 1.0),
    )


def _facts(index: Integers, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return what is true of each picture, by claim, but for places and joiners."""
    group, other, background = _group(index), _others(index), _background(index)
    absent = np.full_like(index, len(CLASSES))
    facts = {
        "shape": labels(index),
        "colour": colours(index),
        "number": group.number,
        "size": np.select([group.size == SMALL, group.size == LARGE], [0, 1], len(SIZES)),
        "other_shape": np.where(other.shown, other.shape, absent),
        "other_colour": np.where(other.shown, other.colour, absent),
        "tone": background.colour,
        "surface": SURFACE_OF[background.pattern],
    }
    return {name: fact.reshape(shape) for name, fact in facts.items()}


def _places(index: Integers) -> Bool[np.ndarray, "b place"]:
    """Return at which of `PLACES` the middle of each group is; a corner is at two, and between two it is at none."""
    group = _group(index)
    x, y = group.x, group.y
    central = np.maximum(np.abs(x), np.abs(y)) < CENTRAL
    return np.stack([x < -ASIDE, x > ASIDE, y < -ASIDE, y > ASIDE, central], axis=-1)


def _holds(facts: dict[str, np.ndarray], places: Bool[np.ndarray, "... place"], claims: Claims) -> np.ndarray:
    there = np.take_along_axis(places, np.maximum(claims.place, 0)[..., None], axis=-1)[..., 0]
    true = there | (claims.place == UNSAID)
    for name, fact in facts.items():
        claim = getattr(claims, name)
        true &= (claim == UNSAID) | (claim == fact)
    return true
