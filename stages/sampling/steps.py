"""How the way from noise to picture is spread over the steps. Imports no heavy library."""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float

Steps: TypeAlias = Float[np.ndarray, "b k"]
"""Step lengths, a row a trajectory; NaN where there is none."""

PerRow: TypeAlias = Float[np.ndarray, " b"]


def shares(steps: Steps) -> Float[np.ndarray, "b k"]:
    """Return step lengths as shares of the whole way; NaN where the state never moved."""
    total = steps.astype(np.float64).sum(axis=1, keepdims=True)
    return np.divide(steps, total, out=np.full(steps.shape, np.nan), where=total > 0)


def made_within(steps: Steps, part: float) -> PerRow:
    """Return the share of the way made within the first `part` of the steps, 0 to 1; a step is made evenly."""
    k = steps.shape[1]
    done = np.concatenate([np.zeros((len(steps), 1)), np.cumsum(shares(steps), axis=1)], axis=1)
    whole = min(int(part * k), k - 1)
    return done[:, whole] + (part * k - whole) * (done[:, whole + 1] - done[:, whole])


def gini(steps: Steps) -> PerRow:
    """Return the Gini coefficient of the step lengths: 0 where all are equal, near 1 where one makes the whole way."""
    k = steps.shape[1]
    ranks = 2 * np.arange(1, k + 1) - k - 1
    return np.sort(shares(steps), axis=1) @ ranks / k
