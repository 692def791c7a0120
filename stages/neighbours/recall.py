"""recall: how often an engine finds what is nearest."""

from typing import NamedTuple

import numpy as np

from stages.metrics import Estimate, Mean, Proportion
from stages.neighbours.engines import Engine, Exact
from stages.neighbours.found import Vectors, cost
from stages.neighbours.references import References


class Recall(NamedTuple):
    """How often an engine finds what is nearest. By score: of equal references any one will do."""

    nearest: Estimate
    """Share of queries whose best score is the best there is."""
    at_k: Estimate
    """Mean share of the k found that are as near as the k-th nearest."""


def recall(engine: Engine, references: References, queries: Vectors, k: int, device: str = "auto") -> Recall:
    """Return the recall of an engine over a sample of queries, against the exact search."""
    metric = references.metric
    want = cost(Exact().open(references, device)(queries, k).scores, metric)
    got = cost(engine.open(references, device)(queries, k).scores, metric)
    near = (got <= want[:, -1:]).mean(axis=1)
    return Recall(Proportion().of((got[:, 0] <= want[:, 0]).astype(np.float64)), Mean().of(near))
