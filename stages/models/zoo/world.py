"""The image world that the embedded models are trained on: every picture is drawn from an integer index alone.

All randomness is a hash of (index, field), and the pixels use only operations that IEEE 754 rounds exactly (+ - * /,
minimum, maximum, floor, comparison), so an index is the same bits on every machine and in every batch. A richer grammar
is another function that returns a `Scene`: more things, other fields; drawing does not change.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum, auto
from typing import SupportsIndex, TypeAlias

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from stages.models.zoo.shapes import EXTENT, SILHOUETTES, SIZE, templates

Renders: TypeAlias = UInt8[np.ndarray, "b 64 64 3"]
Integers: TypeAlias = Int64[np.ndarray, " b"]
Reals: TypeAlias = Float32[np.ndarray, " b"]
Plane: TypeAlias = Float32[np.ndarray, "b 64 64"]

PIXELS = 64
HELD_OUT = 10_000_000
"""Indices from here on are never trained on."""

COLOUR_VALUES = {
    "red": (0.86, 0.12, 0.14),
    "orange": (0.98, 0.54, 0.08),
    "yellow": (0.97, 0.90, 0.16),
    "green": (0.14, 0.62, 0.20),
    "cyan": (0.16, 0.82, 0.88),
    "blue": (0.14, 0.26, 0.88),
    "purple": (0.50, 0.14, 0.68),
    "pink": (0.98, 0.56, 0.76),
}
TONES = {
    "grey": (0.62, 0.62, 0.62),
    "sand": (0.70, 0.64, 0.54),
    "slate": (0.42, 0.47, 0.53),
    "sage": (0.52, 0.58, 0.50),
    "mauve": (0.60, 0.53, 0.58),
    "charcoal": (0.30, 0.30, 0.32),
}
CLASSES = tuple(SILHOUETTES)
COLOURS = tuple(COLOUR_VALUES)
BACKGROUND_COLOURS = tuple(TONES)
PATTERNS = ("plain", "gradient", "stripes", "bands", "checks", "dots")


class Random(IntEnum):
    """What a random number of an index is for; the numbers are part of the world, so only append."""

    X = auto()
    Y = auto()
    SCALE = auto()
    TURN = auto()
    PATTERN = auto()
    TONE = auto()
    LIGHT = auto()
    PERIOD = auto()
    PHASE = auto()
    SHADE = auto()
    # of scenes
    NUMBER = auto()
    SIZE = auto()
    PLACE = auto()
    OTHER = auto()
    OTHER_SHAPE = auto()
    OTHER_COLOUR = auto()
    OTHER_SCALE = auto()
    OTHER_SIDE = auto()
    RICH = auto()
    SAY_COLOUR = auto()
    SAY_NUMBER = auto()
    SAY_SIZE = auto()
    SAY_PLACE = auto()
    SAY_OTHER = auto()
    SAY_OTHER_COLOUR = auto()
    SAY_TONE = auto()
    SAY_SURFACE = auto()
    JOINER = auto()


@dataclass(frozen=True)
class Things:
    """One thing in each of b pictures. Lengths are in half widths of the picture, which spans [-1, 1]."""

    shape: Integers
    colour: Integers
    x: Reals
    y: Reals
    scale: Reals
    half_turn: Reals  # tangent of half the angle
    shade: Reals  # how much darker the bottom is


@dataclass(frozen=True)
class Backgrounds:
    """The background of each of b pictures."""

    colour: Integers
    pattern: Integers
    light: Reals  # factor on the colour
    period_px: Reals
    phase: Reals  # of a period


@dataclass(frozen=True)
class Scene:
    """What b pictures show: a background, and things from back to front."""

    background: Backgrounds
    things: tuple[Things, ...]


def labels(indices: Iterable[SupportsIndex]) -> Integers:
    """Return the class of each index, a position in `CLASSES`."""
    return array(indices) % len(CLASSES)


def colours(indices: Iterable[SupportsIndex]) -> Integers:
    """Return the colour of each index, a position in `COLOURS`."""
    return array(indices) // len(CLASSES) % len(COLOURS)


def caption(thing: str, colour: str = "") -> str:
    """Return the prompt of a thing, for example `a photo of an orange fish`."""
    noun = f"{colour} {thing}".strip()
    return f"a photo of {'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def captions(indices: Iterable[SupportsIndex]) -> list[str]:
    """Return the caption of each index."""
    index = array(indices)
    return [caption(CLASSES[k], COLOURS[c]) for k, c in zip(labels(index), colours(index), strict=True)]


def scene(indices: Iterable[SupportsIndex]) -> Scene:
    """Return what each index shows: one thing on a background."""
    index = array(indices)
    thing = Things(
        shape=labels(index),
        colour=colours(index),
        x=between(index, Random.X, -0.22, 0.22),
        y=between(index, Random.Y, -0.22, 0.22),
        scale=between(index, Random.SCALE, 0.52, 0.72),
        half_turn=between(index, Random.TURN, -0.12, 0.12),
        shade=between(index, Random.SHADE, 0.1, 0.35),
    )
    background = Backgrounds(
        colour=choice(index, Random.TONE, len(TONES)),
        pattern=choice(index, Random.PATTERN, len(PATTERNS)),
        light=between(index, Random.LIGHT, 0.8, 1.25),
        period_px=between(index, Random.PERIOD, 12.0, 22.0),
        phase=between(index, Random.PHASE, 0.0, 1.0),
    )
    return Scene(background, (thing,))


def render(indices: Iterable[SupportsIndex], block: int = 16) -> Renders:
    """Return the picture of each index. Drawn in small blocks, which stay in the cache."""
    index = array(indices)
    pictures = np.empty((len(index), PIXELS, PIXELS, 3), np.uint8)
    for start in range(0, len(index), block):
        pictures[start : start + block] = draw(scene(index[start : start + block]))
    return pictures


def draw(scene: Scene) -> Renders:
    """Return the pictures of a scene."""
    red_green_blue = _background(scene.background)
    for things in scene.things:
        red_green_blue = _paint(things, red_green_blue)
    pixels = [
        np.floor(np.minimum(np.maximum(plane, 0), 1) * np.float32(255) + np.float32(0.5)) for plane in red_green_blue
    ]
    return np.stack(pixels, axis=-1).astype(np.uint8)


def _background(background: Backgrounds) -> list[Plane]:
    relief = _pattern(background) * np.float32(0.14) + np.float32(0.93)
    colour = np.array(list(TONES.values()), np.float32)[background.colour] * background.light[:, None]
    return [relief * colour[:, channel, None, None] for channel in range(3)]


def _pattern(background: Backgrounds) -> Plane:
    """Return each picture's pattern in [0, 1]; edges are a pixel wide or wider."""
    pixel = np.arange(PIXELS, dtype=np.float32)
    period = background.period_px[:, None]
    across, down = (
        _wave(pixel / period + background.phase[:, None] * part) for part in (np.float32(1), np.float32(0.5))
    )
    x, y = across[:, None, :], down[:, :, None]
    ramp = np.broadcast_to(pixel[:, None] / np.float32(PIXELS - 1), (len(period), PIXELS, PIXELS))
    patterns: dict[str, Callable[[], Plane]] = {
        "plain": lambda: np.full_like(ramp, 0.5),
        "gradient": lambda: ramp,
        "stripes": lambda: np.broadcast_to(_edge(x), ramp.shape),
        "bands": lambda: np.broadcast_to(_edge(y), ramp.shape),
        "checks": lambda: np.abs(_edge(x) - _edge(y)),
        "dots": lambda: _edge(x + y - np.float32(0.9)),
    }
    pattern = np.empty((len(period), PIXELS, PIXELS), np.float32)
    for number, name in enumerate(PATTERNS):
        if (chosen := background.pattern == number).any():
            pattern[chosen] = patterns[name]()[chosen]
    return pattern


def _wave(position: Float32[np.ndarray, "b 64"]) -> Float32[np.ndarray, "b 64"]:
    """Triangle wave of period 1 in [-1, 1]."""
    return np.abs(position - np.floor(position) - np.float32(0.5)) * np.float32(4) - np.float32(1)


def _edge(wave: Float32[np.ndarray, "b h w"]) -> Float32[np.ndarray, "b h w"]:
    return np.minimum(np.maximum(wave * np.float32(3) + np.float32(0.5), 0), 1)


def _paint(things: Things, below: list[Plane]) -> list[Plane]:
    distance_px, height = _distance(things)
    cover = np.minimum(np.maximum(np.float32(0.5) - distance_px, 0), 1)
    rim = np.minimum(np.maximum(distance_px + np.float32(2.5), 0), 1)  # a dark outline, about two pixels wide
    light = (1 - things.shade[:, None, None] * (height + 1) / 2) * (1 - rim * np.float32(0.65))
    colour = np.array(list(COLOUR_VALUES.values()), np.float32)[things.colour]
    return [plane + cover * (light * colour[:, channel, None, None] - plane) for channel, plane in enumerate(below)]


def _distance(things: Things) -> tuple[Plane, Plane]:
    """Return the signed distance to each thing's outline, in pixels, and the height in its own frame."""
    axis = (np.arange(PIXELS, dtype=np.float32) + np.float32(0.5)) / np.float32(PIXELS / 2) - 1
    squared = things.half_turn * things.half_turn
    cosine = (1 - squared) / (1 + squared) / things.scale
    sine = 2 * things.half_turn / (1 + squared) / things.scale
    x, y = axis[None, :] - things.x[:, None], axis[None, :] - things.y[:, None]
    u = (cosine[:, None] * x)[:, None, :] + (sine[:, None] * y)[:, :, None]
    v = (cosine[:, None] * y)[:, :, None] - (sine[:, None] * x)[:, None, :]
    return _lookup(things.shape, u, v) * (things.scale * np.float32(PIXELS / 2))[:, None, None], v


def _lookup(shape: Integers, u: Plane, v: Plane) -> Plane:
    """Return the silhouettes' distance at (u, v), bilinear between the points of the templates."""
    last = np.float32(SIZE - 1)
    column, row = (
        np.minimum(np.maximum((w / np.float32(EXTENT) + 1) * (last / 2), 0), last - np.float32(0.001)) for w in (u, v)
    )
    left, top = column.astype(np.int32), row.astype(np.int32)
    right_share, lower_share = column - left.astype(np.float32), row - top.astype(np.float32)
    flat = templates().reshape(-1)
    corner = top * SIZE + left + (shape.astype(np.int32) * (SIZE * SIZE))[:, None, None]
    upper = _mix(flat[corner], flat[corner + 1], right_share)
    lower = _mix(flat[corner + SIZE], flat[corner + SIZE + 1], right_share)
    return _mix(upper, lower, lower_share)


def _mix(start: Plane, end: Plane, share: Plane) -> Plane:
    return start + share * (end - start)


def array(indices: Iterable[SupportsIndex]) -> Integers:
    """Return indices as an array."""
    return np.fromiter(indices, np.int64) if not isinstance(indices, np.ndarray) else indices.astype(np.int64)


def _hash(index: Integers, field: Random) -> np.ndarray:
    """SplitMix64 (Steele, Lea and Flood 2014) of the index and the field, as unsigned 64-bit integers."""
    z = index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(field * 0xD1B54A32D192ED03 & (2**64 - 1))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def between(index: Integers, field: Random, low: float, high: float) -> Reals:
    """Return a number of each index that is spread evenly over [low, high)."""
    unit = (_hash(index, field) >> np.uint64(40)).astype(np.float32) / np.float32(2**24)
    return np.float32(low) + unit * np.float32(high - low)


def choice(index: Integers, field: Random, count: int) -> Integers:
    """Return a number of each index below `count`, each as likely."""
    return (_hash(index, field) >> np.uint64(8)).astype(np.int64) % count
