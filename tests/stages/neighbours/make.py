"""Small reference sets whose every answer is known by brute force."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from stages.neighbours import Index
from stages.neighbours.writer import Writer
from stages.randomness import rng


def unit(count: int, dimension: int, purpose: str = "references") -> np.ndarray:
    vectors = rng(0, purpose).standard_normal((count, dimension), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def table(count: int) -> pa.Table:
    return pa.table({"path": [f"{i}.png" for i in range(count)], "row": pa.array(range(count), pa.int64())})


def write(folder: Path | str, vectors: np.ndarray, metric: str = "cosine", shard_rows: int = 100, **described) -> Index:
    writer = Writer(folder, vectors.shape[1], str(vectors.dtype), shard_rows)
    items = table(len(vectors))
    for start in range(0, len(vectors), 37):  # pieces that never fill a shard evenly
        writer.add(vectors[start : start + 37], items.slice(start, 37))
    stated = {"score": "toy@8", "model": "toy", "weights": "w", "metric": metric, "source": "toys", "settings": "s"}
    writer.finish(pa.table({"path": ["bad.png"], "row": [0], "reason": ["zero"]}), **stated | described)
    return Index.open(folder)


def brute(queries: np.ndarray, references: np.ndarray, k: int, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and items of the k nearest, in float64; equal float32 scores in order of their items."""
    q, r = queries.astype(np.float64), references.astype(np.float64)
    scores = q @ r.T if metric == "cosine" else np.sqrt(np.stack([((r - one) ** 2).sum(1) for one in q]))
    scores = scores.astype(np.float32)
    order = np.argsort(-scores if metric == "cosine" else scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), order
