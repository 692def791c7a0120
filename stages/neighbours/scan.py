"""The exact search: every query against every reference, in blocks."""

import time
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from stages.models.descriptors.spec import Metric
from stages.neighbours.found import Best, Found, Numbers, Vectors, cost, pair_scores
from stages.neighbours.references import Part, References

QUERIES, REFERENCES = 4096, 1024
"""Rows of a block: its products stay in the cache."""
PAIR_NUMBERS = 2**22
"""Numbers of each side that are scored exactly at once."""


class Bounds(NamedTuple):
    """What limits the error of a look at a part."""

    norm: float
    """The largest norm of a stored vector."""
    rounding: float
    """The largest norm of what a vector loses in the number format of the first look."""
    offsets: Float32[Tensor, " n"] | None
    """l2: minus half of each squared norm."""


class Block(NamedTuple):
    """Some references at a time."""

    first: int
    vectors: Float32[Tensor, "r d"]
    offsets: Float32[Tensor, " r"] | None

    def products(self, queries: Float32[Tensor, "q d"]) -> Float32[Tensor, "q r"]:
        """Return what is largest for the nearest: x.y, or for l2 (|x|^2 - |x - y|^2) / 2 = x.y - |y|^2 / 2."""
        if self.offsets is None:
            return torch.mm(queries, self.vectors.T)
        return torch.addmm(self.offsets, queries, self.vectors.T)


class Queries:
    """The queries, and how far a look at them may be off."""

    def __init__(self, vectors: Vectors, dtype: torch.dtype, device: torch.device) -> None:
        self.vectors = vectors
        self.exact = torch.from_numpy(vectors).to(device)
        self.rounded = self.exact.to(dtype)
        self.squares = np.einsum("qd,qd->q", vectors, vectors, dtype=np.float64)
        self.norms = np.sqrt(self.squares)
        self.rounding = (self.exact - self.rounded).norm(dim=1, dtype=torch.float64).cpu().numpy()

    def first_slack(self, bounds: Bounds) -> Float64[np.ndarray, " q"]:
        """Return by how much a product of rounded vectors may be off before its own rounding: Cauchy and Schwarz."""
        inputs = self.rounding * bounds.norm + (self.norms + self.rounding) * bounds.rounding
        return inputs + 4 * self.slack(bounds)  # units for half precision add less exactly

    def slack(self, bounds: Bounds) -> Float64[np.ndarray, " q"]:
        """Return by how much a float32 product may be off: Higham 2002, Eq. 3.4, which holds in any order."""
        sums = (self.exact.shape[1] + 16) * 2.0**-24 * self.norms * bounds.norm
        return sums if bounds.offsets is None else sums + 2.0**-22 * bounds.norm * (self.norms + bounds.norm)

    def needed(self, best: Best, rows: slice, metric: Metric) -> Float64[np.ndarray, " q"]:
        """Return the product at which a reference costs these queries as little as the worst that they keep."""
        worst = best.costs[rows, -1].astype(np.float64)
        if metric == "cosine":
            return -worst
        return (self.squares[rows] - (worst * (1 + 2.0**-22)) ** 2) / 2  # a distance was rounded to float32


class Scan:
    """Exact nearest references.

    A first look multiplies blocks in a fast number format. Queries for which its rounding could hide a better reference
    look again in float32, and what float32 could hide is scored in float64. So the answer is exact, and the same bits
    whatever the format, the machine, the batch and the shards. Beside one part of the references it holds a block of
    products; on a GPU the references stay on the device.
    """

    def __init__(self, references: References, device: str = "auto", look: str = "auto") -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        elif device == "cuda" and not torch.cuda.is_available():
            raise ValueError("lookup: expected a CUDA device, found none; give the step a GPU or set device=cpu")
        self.references, self.device = references, torch.device(device)
        fast = references.metric == "cosine" and look == "auto"
        self.dtype = fastest(device, references.dimension) if fast else getattr(torch, look.replace("auto", "float32"))
        self.bounds: dict[int, Bounds] = {}
        self.held: dict[int, Tensor] = {}

    @torch.inference_mode()
    def __call__(self, vectors: Vectors, k: int) -> Found:
        """Return the k nearest references of each query."""
        queries, best = Queries(vectors, self.dtype, self.device), Best(len(vectors), k)
        for part in self.references.parts:
            slacks = queries.first_slack(self._bounds(part)), queries.slack(self._bounds(part))
            for block in self._blocks(part):
                rounded = block.vectors.to(self.dtype)
                for start in range(0, len(vectors), QUERIES):
                    rows = slice(start, start + QUERIES)
                    need = queries.needed(best, rows, self.references.metric)
                    met = self._met(queries.rounded[rows], rounded, need - slacks[0][rows])
                    if len(met):
                        asked = queries.exact[rows]
                        all_met = len(met) == len(asked)
                        products = block.products(asked if all_met else asked[torch.from_numpy(met).to(self.device)])
                        again, columns = candidates(products, need[met], slacks[1][rows][met], k)
                        self._take(best, queries, met[again] + start, block, columns)
        return best.found(self.references.metric)

    def _met(
        self, queries: Float[Tensor, "q d"], block: Float[Tensor, "r d"], limit: Float64[np.ndarray, " q"]
    ) -> Numbers:
        """Return the queries that a first look cannot pass over; all where it would be no faster."""
        if self.dtype == torch.float32:
            return np.arange(len(limit))
        highest = torch.mm(queries, block.T).amax(1)  # rounding keeps order, so the limit may be rounded likewise
        return (highest >= torch.from_numpy(limit).to(highest)).nonzero()[:, 0].cpu().numpy()

    def _take(self, best: Best, queries: Queries, rows: Numbers, block: Block, columns: Numbers) -> None:
        """Score pairs of a query and a reference exactly."""
        step = max(1, PAIR_NUMBERS // self.references.dimension)
        for start in range(0, len(rows), step):
            row, column = rows[start : start + step], columns[start : start + step]
            vectors = block.vectors[torch.from_numpy(column).to(self.device)].cpu().numpy()
            scores = pair_scores(queries.vectors[row], vectors, self.references.metric)
            best.add(row, cost(scores, self.references.metric), block.first + column)

    def _blocks(self, part: Part) -> Iterator[Block]:
        stored, bounds = self._stored(part), self._bounds(part)
        for start in range(0, part.rows, REFERENCES):
            offsets = None if bounds.offsets is None else bounds.offsets[start : start + REFERENCES]
            yield Block(part.first + start, self._vectors(stored, start), offsets)

    def _bounds(self, part: Part) -> Bounds:
        if part.number not in self.bounds:
            stored, norm, rounding = self._stored(part), 0.0, 0.0
            offsets = torch.empty(part.rows, device=self.device) if self.references.metric == "l2" else None
            for start in range(0, part.rows, REFERENCES):
                vectors = self._vectors(stored, start)
                norms = vectors.norm(dim=1, dtype=torch.float64)
                lost = (vectors - vectors.to(self.dtype)).norm(dim=1, dtype=torch.float64)
                norm, rounding = max(norm, float(norms.max())), max(rounding, float(lost.max()))
                if offsets is not None:
                    offsets[start : start + REFERENCES] = -(norms**2) / 2
            self.bounds[part.number] = Bounds(norm, rounding, offsets)
        return self.bounds[part.number]

    def _stored(self, part: Part) -> np.ndarray | Tensor:
        if self.device.type == "cpu":
            return self.references.vectors(part)
        if part.number not in self.held:
            self.held[part.number] = torch.from_numpy(np.array(self.references.vectors(part))).to(self.device)
        return self.held[part.number]

    @staticmethod
    def _vectors(stored: np.ndarray | Tensor, start: int) -> Float32[Tensor, "r d"]:
        rows = stored[start : start + REFERENCES]
        return (torch.from_numpy(np.array(rows)) if isinstance(rows, np.ndarray) else rows).float()


def candidates(
    products: Float32[Tensor, "q r"], need: Float64[np.ndarray, " q"], slack: Float64[np.ndarray, " q"], k: int
) -> tuple[Numbers, Numbers]:
    """Return the queries and references whose product may be among the k best, given what is kept already.

    A block with k references sets a limit of its own: its k-th product, twice the slack lower.
    """
    limits, slacks = (torch.from_numpy(x).to(products.device) for x in (need - slack, slack))
    highest = products.amax(1)
    met = (highest >= limits.float()).nonzero()[:, 0]  # rounding keeps order, so a limit may be rounded
    near, limits = products[met], limits[met]
    if len(met) and products.shape[1] >= k:
        kth = highest[met] if k == 1 else near.topk(k).values[:, -1]
        limits = torch.maximum(limits, kth.double() - 2 * slacks[met])
    pairs = (near >= limits.float()[:, None]).nonzero()
    return met[pairs[:, 0]].cpu().numpy(), pairs[:, 1].cpu().numpy()


@lru_cache(maxsize=16)
def fastest(device: str, dimension: int) -> torch.dtype:
    """Return the number format in which this machine multiplies blocks fastest; timed, since no flag tells."""

    def seconds(dtype: torch.dtype) -> float:
        x = torch.ones(REFERENCES, dimension, dtype=dtype, device=device)
        times = []
        for _ in range(3):
            start = time.perf_counter()
            float(torch.mm(x, x.T)[0, 0])  # waits for the device
            times.append(time.perf_counter() - start)
        return min(times)

    return min((torch.float32, torch.bfloat16), key=seconds)
