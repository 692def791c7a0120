"""The share of scores beyond a threshold, for many thresholds."""

from typing import Literal

import numpy as np
from jaxtyping import Float

from stages.arrays import Outcomes
from stages.metrics.base import as_numbers
from stages.metrics.estimate import Estimate
from stages.metrics.proportion import Proportion


def exceedance(
    scores: Outcomes,
    thresholds: Float[np.ndarray, " k"],
    side: Literal["above", "below"] = "above",
    confidence: float = 0.95,
) -> list[Estimate]:
    """Return the share of scores strictly above, or below, each threshold, with Wilson's interval.

    Each interval holds at its own threshold, not for all at once. A NaN is a missing score.
    """
    numbers, share = as_numbers(scores), Proportion(confidence=confidence)
    beyond = [numbers > threshold if side == "above" else numbers < threshold for threshold in thresholds]
    return [share.of(np.where(np.isnan(numbers), np.nan, hits)) for hits in beyond]
