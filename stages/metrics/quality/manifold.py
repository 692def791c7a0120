"""Improved precision and recall: how many pictures lie where real ones do, and how many real ones where these do."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64

from stages.metrics.estimate import Estimate
from stages.metrics.proportion import Proportion

NEAREST = 3
BLOCK = 1024


class Fidelity(NamedTuple):
    """What the pictures are like, and how much of the reference they cover."""

    precision: Estimate
    recall: Estimate


def precision_recall(
    drawn: Float[np.ndarray, "n d"], reference: Float[np.ndarray, "m d"], missing: int = 0, nearest: int = NEAREST
) -> Fidelity:
    """Return the shares of one set within the manifold of the other: Kynkaanniemi et al. 2019 (arXiv:1904.06991).

    The manifold of a set is the union of balls, each from a picture to its `nearest`-th neighbour in the set. Both sets
    are cut to one length, since a larger set has smaller balls. The interval is Wilson's, for the other set as it is.
    """
    n = min(len(drawn), len(reference))
    if n <= nearest:
        nothing = Estimate.missing(missing, f"fewer than {nearest + 1} pictures", n)
        return Fidelity(nothing, nothing)
    found = [Proportion().of(inside(a[:n], b[:n], nearest)) for a, b in ((drawn, reference), (reference, drawn))]
    precision, recall = (e.model_copy(update={"n_missing": missing}) for e in found)
    return Fidelity(precision, recall)


def inside(
    points: Float[np.ndarray, "n d"], manifold: Float[np.ndarray, "m d"], nearest: int
) -> Bool[np.ndarray, " n"]:
    """Say which points lie in a ball around at least one point of the manifold."""
    reach = radii(manifold, nearest)
    return np.concatenate([(squared(p, manifold) <= reach).any(axis=1) for p in _blocks(points)])


def radii(points: Float[np.ndarray, "n d"], nearest: int) -> Float64[np.ndarray, " n"]:
    """Return each point's squared distance to its `nearest`-th neighbour, itself not counted."""
    found = []
    for start in range(0, len(points), BLOCK):
        away = squared(points[start : start + BLOCK], points)
        away[np.arange(len(away)), start + np.arange(len(away))] = -1.0  # itself comes first, whatever is rounded
        found.append(np.partition(away, nearest, axis=1)[:, nearest])
    return np.concatenate(found)


def squared(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> Float64[np.ndarray, "n m"]:
    """Return all squared distances."""
    first, second = a.astype(np.float64), b.astype(np.float64)
    found = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * first @ second.T
    return np.maximum(found, 0.0)


def _blocks(points: Float[np.ndarray, "n d"]) -> list[Float[np.ndarray, "_ d"]]:
    return [points[start : start + BLOCK] for start in range(0, len(points), BLOCK)]
