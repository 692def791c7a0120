"""search: the nearest references, checked from end to end."""

import numpy as np

from stages.neighbours.engines import Engine, Exact, Search
from stages.neighbours.found import Found, Vectors
from stages.neighbours.references import References

UNIT = 1e-2
"""How far a norm may be from one: stored vectors are rounded."""


def search(references: References, queries: Vectors, k: int, engine: Engine | None = None) -> Found:
    """Return the k nearest references of each query; `Checked` keeps an engine open for many calls."""
    return Checked(references, engine or Exact())(queries, k)


class Checked:
    """An engine opened over references; refuses queries that have no answer."""

    def __init__(self, references: References, engine: Engine, device: str = "auto") -> None:
        self.references = references
        self.search: Search = engine.open(references, device)

    def __call__(self, queries: Vectors, k: int) -> Found:
        """Return the k nearest references of each query."""
        refuse_k(k, self.references.count)
        refuse_queries(queries, self.references)
        return self.search(np.ascontiguousarray(queries), k)


def refuse_k(k: int, count: int) -> None:
    """Raise `ValueError` where there are fewer references than neighbours asked for."""
    if not 1 <= k <= count:
        raise ValueError(f"lookup: expected k of 1 to {count}, the number of references, found {k}")


def refuse_queries(queries: Vectors, references: References) -> None:
    """Raise `ValueError` where a query is of another space."""
    if queries.shape[1] != references.dimension:
        raise ValueError(
            f"lookup: expected queries of {references.dimension} numbers, as the references have, "
            f"found {queries.shape[1]}; use the descriptor of the index"
        )
    if not np.isfinite(queries).all():
        raise ValueError("lookup: expected queries of finite numbers, found NaN or infinity")
    if references.metric == "cosine":
        norms = np.linalg.norm(queries, axis=1)
        if len(wrong := norms[np.abs(norms - 1) > UNIT]):
            zero = "a zero vector has no direction" if wrong.min() == 0 else "normalise them"
            raise ValueError(f"lookup: expected queries of norm 1, found one of norm {wrong[0]:.3g}; {zero}")
