"""The plane through three noises: what each model draws at every point of it, and where models agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pipelines.grid import Grid
from pipelines.pairs import cosines
from pipelines.reproducibility import Reproducibility
from pipelines.rows import images_of, vectors
from pipelines.save import decode
from pipelines.store import Store

THUMBNAIL_PX = 64
ROUNDS = 20
"""Of k-means."""


@dataclass(frozen=True)
class NoisePlane:
    """What the models drew on the plane, [models points points], row by row from the low end of the second axis."""

    axis: tuple[float, ...]
    regions: np.ndarray
    """The representative that each picture is nearest to, -1 where there is no picture."""
    representatives: tuple[tuple[int, int, int], ...]
    """The model and the point of each representative."""
    agreement: dict[tuple[int, int], np.ndarray]
    """The cosine of two models' pictures at every point."""

    def agreeing(self, threshold: float) -> dict[tuple[int, int], float]:
        """Return the share of points at which two models agree."""
        return {
            pair: float(np.nanmean(np.where(np.isnan(c), np.nan, c > threshold))) for pair, c in self.agreement.items()
        }


def noise_plane(question: Reproducibility) -> NoisePlane | None:
    """Return the plane from what the store holds; None where none is asked for or nothing was drawn."""
    plane = question.spec.plane
    if plane is None:
        return None
    store, (column,) = Store(question.spec.store), question.descriptor.columns
    found = [vectors(store, grid, question.descriptor, column) for grid in question.planes]
    drawn = np.stack(found) if len({v.shape for v in found}) == 1 else None
    if drawn is None or np.isnan(drawn).all():
        return None
    regions, chosen = coloured(drawn, plane.regions)
    shape = (plane.points, plane.points)
    return NoisePlane(
        axis=plane.axis,
        regions=regions.reshape(len(found), *shape),
        representatives=tuple((model, *divmod(point, plane.points)) for model, point in chosen),
        agreement={(a, b): cosines(drawn[a], drawn[b]).reshape(shape) for a, b in combinations(range(len(found)), 2)},
    )


def coloured(drawn: np.ndarray, count: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Return the nearest representative of each picture [models points], and each one's model and point.

    Representatives are the pictures in the middle of spherical k-means clusters (Dhillon and Modha 2001,
    doi:10.1023/A:1007612920971) over all models together, so every model is coloured by the same ones; no chance in it.
    """
    flat = drawn.reshape(-1, drawn.shape[-1])
    present = np.flatnonzero(~np.isnan(flat).any(axis=1))
    vectors = flat[present]
    centres = vectors[apart(vectors, min(count, len(vectors)))]
    for _ in range(ROUNDS):
        of = np.argmax(vectors @ centres.T, axis=1)
        sums = np.stack([vectors[of == c].sum(axis=0) for c in range(len(centres))])
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(norms > 0, sums / np.maximum(norms, 1e-12), centres)
    middle = np.unique(np.argmax(vectors @ centres.T, axis=0))
    region = np.full(len(flat), -1)
    region[present] = np.argmax(vectors @ vectors[middle].T, axis=1)
    points = drawn.shape[1]
    return region.reshape(drawn.shape[:2]), [divmod(int(place), points) for place in present[middle]]


def apart(vectors: np.ndarray, count: int) -> list[int]:
    """Return rows that lie far from each other: each the farthest from those before it, from the first on."""
    chosen = [0]
    nearest = vectors @ vectors[0]
    while len(chosen) < count:
        chosen.append(int(np.argmin(nearest)))
        nearest = np.maximum(nearest, vectors @ vectors[chosen[-1]])
    return chosen


def tiles(store: Store, grid: Grid, points: int, shown: int) -> np.ndarray | None:
    """Return a mosaic uint8 [h w 3] of every so many-th picture of a plane; None where there is none.

    The low ends of both axes are at the lower left, as on a map.
    """
    at = np.unique(np.linspace(0, points - 1, min(points, shown)).round().astype(int))
    numbers = (at[::-1, None] * points + at[None, :]).ravel()
    ids: Sequence[str] = grid.rows(numbers)["sample_id"].tolist()
    png = images_of(store, ids)
    if not png:
        return None
    side = min(THUMBNAIL_PX, max(decode(next(iter(png.values()))).shape[:2]))
    small = [thumbnail(decode(png[i]), side) if i in png else np.full((side, side, 3), 255, np.uint8) for i in ids]
    rows = [np.concatenate(small[start : start + len(at)], axis=1) for start in range(0, len(small), len(at))]
    return np.concatenate(rows, axis=0)


def thumbnail(picture: np.ndarray, side: int) -> np.ndarray:
    """Return a picture at a side of `side` pixels."""
    import PIL.Image

    return np.asarray(PIL.Image.fromarray(picture).resize((side, side), PIL.Image.Resampling.BOX))
