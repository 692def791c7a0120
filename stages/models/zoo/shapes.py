"""The twelve silhouettes as signed distances, negative inside, on a grid of 128 x 128 over [-EXTENT, EXTENT] squared.

Only exact operations of IEEE 754 (+ - * / sqrt, minimum, maximum, comparison) make them, so that they are the same bits
on every machine. The y axis points down.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from jaxtyping import Float32

SIZE = 128
EXTENT = 1.75

Field = np.ndarray
Point = tuple[float, float]

STAR: tuple[Point, ...] = (
    (0.0, -1.05),
    (0.2469, -0.3398),
    (0.9986, -0.3245),
    (0.3994, 0.1298),
    (0.6172, 0.8495),
    (0.0, 0.42),
    (-0.6172, 0.8495),
    (-0.3994, 0.1298),
    (-0.9986, -0.3245),
    (-0.2469, -0.3398),
)
CROSS: tuple[Point, ...] = (
    (-0.3, -0.95),
    (0.3, -0.95),
    (0.3, -0.3),
    (0.95, -0.3),
    (0.95, 0.3),
    (0.3, 0.3),
    (0.3, 0.95),
    (-0.3, 0.95),
    (-0.3, 0.3),
    (-0.95, 0.3),
    (-0.95, -0.3),
    (-0.3, -0.3),
)
ARROW: tuple[Point, ...] = (
    (-1.0, -0.26),
    (0.05, -0.26),
    (0.05, -0.8),
    (1.0, 0.0),
    (0.05, 0.8),
    (0.05, 0.26),
    (-1.0, 0.26),
)
HOUSE: tuple[Point, ...] = (
    (0.0, -1.0),
    (1.0, -0.15),
    (0.72, -0.15),
    (0.72, 0.85),
    (-0.72, 0.85),
    (-0.72, -0.15),
    (-1.0, -0.15),
)
TREE: tuple[Point, ...] = (
    (0.0, -1.1),
    (0.52, -0.45),
    (0.28, -0.45),
    (0.68, 0.05),
    (0.38, 0.05),
    (0.85, 0.6),
    (0.17, 0.6),
    (0.17, 1.0),
    (-0.17, 1.0),
    (-0.17, 0.6),
    (-0.85, 0.6),
    (-0.38, 0.05),
    (-0.68, 0.05),
    (-0.28, -0.45),
    (-0.52, -0.45),
)


def _disc(x: Field, y: Field, centre: Point, radius: float) -> Field:
    return np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2) - radius


def _box(x: Field, y: Field, centre: Point, half: Point) -> Field:
    across, down = np.abs(x - centre[0]) - half[0], np.abs(y - centre[1]) - half[1]
    outside = np.sqrt(np.maximum(across, 0) ** 2 + np.maximum(down, 0) ** 2)
    return outside + np.minimum(np.maximum(across, down), 0)


def _polygon(x: Field, y: Field, corners: tuple[Point, ...]) -> Field:
    """Distance to the nearest edge; the sign is the parity of the edges that a ray to the right crosses."""
    nearest, inside = np.full_like(x, np.inf), np.zeros(x.shape, bool)
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        ex, ey = x1 - x0, y1 - y0
        along = np.clip(((x - x0) * ex + (y - y0) * ey) / (ex * ex + ey * ey), 0.0, 1.0)
        nearest = np.minimum(nearest, (x - x0 - along * ex) ** 2 + (y - y0 - along * ey) ** 2)
        if ey != 0:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) / ey * ex)
    return np.where(inside, -1.0, 1.0) * np.sqrt(nearest)


def _heart(x: Field, y: Field) -> Field:
    """Two discs on the upper sides of a square that stands on its corner."""
    square = (np.abs(x) + np.abs(y - 0.1)) / np.sqrt(2.0) - 0.6
    lobes = np.minimum(_disc(x, y, (-0.4243, -0.3243), 0.6), _disc(x, y, (0.4243, -0.3243), 0.6))
    return np.minimum(square, lobes)


def _moon(x: Field, y: Field) -> Field:
    return np.maximum(_disc(x, y, (-0.1, 0.0), 0.95), -_disc(x, y, (0.38, -0.12), 0.78))


def _house(x: Field, y: Field) -> Field:
    return np.maximum(_polygon(x, y, HOUSE), -_box(x, y, (0.0, 0.6), (0.2, 0.32)))


def _fish(x: Field, y: Field) -> Field:
    body = np.maximum(_disc(x, y, (-0.2, 0.55), 1.05), _disc(x, y, (-0.2, -0.55), 1.05))
    tail = _polygon(x, y, ((0.4, 0.0), (1.1, -0.62), (0.9, 0.0), (1.1, 0.62)))
    return np.maximum(np.minimum(body, tail), -_disc(x, y, (-0.6, -0.1), 0.12))


SILHOUETTES: dict[str, Callable[[Field, Field], Field]] = {
    "circle": lambda x, y: _disc(x, y, (0.0, 0.0), 0.9),
    "square": lambda x, y: _box(x, y, (0.0, 0.0), (0.78, 0.78)),
    "triangle": lambda x, y: _polygon(x, y, ((0.0, -0.95), (1.0, 0.75), (-1.0, 0.75))),
    "star": lambda x, y: _polygon(x, y, STAR),
    "heart": _heart,
    "cross": lambda x, y: _polygon(x, y, CROSS),
    "ring": lambda x, y: np.abs(_disc(x, y, (0.0, 0.0), 0.7)) - 0.24,
    "moon": _moon,
    "arrow": lambda x, y: _polygon(x, y, ARROW),
    "house": _house,
    "tree": lambda x, y: _polygon(x, y, TREE),
    "fish": _fish,
}


@cache
def templates() -> Float32[np.ndarray, "shape 128 128"]:
    """Return every silhouette's signed distance, in the order of `SILHOUETTES`."""
    axis = (np.arange(SIZE) / (SIZE - 1) * 2 - 1) * EXTENT
    y, x = np.broadcast_arrays(axis[:, None], axis[None, :])
    return np.stack([silhouette(x, y) for silhouette in SILHOUETTES.values()]).astype(np.float32)
