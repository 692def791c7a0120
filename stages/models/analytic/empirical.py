"""The empirical denoiser: the exact answer for a training set, so a model that memorizes it and nothing else."""

import math
from abc import abstractmethod
from functools import reduce
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from typing_extensions import override

from stages.models.analytic.base import AnalyticModel, Densities, Rows

BLOCK = 4096
"""Training pictures that are compared at once."""


class Partial(NamedTuple):
    """What a part of the training set adds to the answer."""

    top: Float[Tensor, " b"]
    """The largest logit."""
    total: Float[Tensor, " b"]
    """The sum of exp(logit - top)."""
    weighted: Float[Tensor, "b n"]
    """The sum of exp(logit - top) times the picture."""

    @property
    def mean(self) -> Rows:
        """The denoised pictures, if this is the whole training set."""
        return self.weighted / self.total[:, None]

    def merge(self, other: "Partial") -> "Partial":
        """Return what two parts add together: associative, so shards may be merged in any grouping."""
        top = torch.maximum(self.top, other.top)
        left, right = (self.top - top).exp(), (other.top - top).exp()
        weighted = left[:, None] * self.weighted + right[:, None] * other.weighted
        return Partial(top, left * self.total + right * other.total, weighted)


class TrainingSet(AnalyticModel):
    """A finite set of pictures, each as likely: D(x; sigma) = sum_i y_i softmax_i(-||x - y_i||^2 / (2 sigma^2)).

    Karras et al. 2022 (arXiv:2206.00364), Eq. 57. Where the pictures are is for `partial` to know.
    """

    kind: ClassVar = "empirical"

    @property
    @abstractmethod
    def count(self) -> int:
        """The number of pictures."""

    @abstractmethod
    def partial(self, x: Rows, sigma: float) -> Partial:
        """Return what these training pictures add to the answer of a larger set that they are a shard of."""

    @override
    def denoise_rows(self, x: Rows, sigma: float) -> Rows:
        return self.partial(x, sigma).mean

    @override
    def log_density_rows(self, x: Rows, sigma: float) -> Densities:
        part = self.partial(x, sigma)
        size = x.shape[1]
        logs = part.top + part.total.log() - (x**2).sum(1) / (2 * sigma**2)
        return logs - math.log(self.count) - size / 2 * math.log(2 * math.pi * sigma**2)


class Empirical(TrainingSet):
    """A training set in memory.

    `points` are in [-1, 1], or bytes that stand for byte / 127.5 - 1. Costs 4 n operations per training picture and
    row, and memory for one block of the training set.
    """

    def __init__(
        self,
        points: Float[Tensor, "m c h w"] | UInt8[Tensor, "m c h w"],
        dtype: torch.dtype = torch.float64,
        block: int = BLOCK,
    ) -> None:
        super().__init__()
        if not len(points):
            raise ValueError("empirical: expected at least one training picture, found none")
        self.register_buffer("points", points)
        self.dtype, self.block = dtype, block

    points: Tensor

    @property
    @override
    def shape(self) -> tuple[int, int, int]:
        _, channels, height, width = self.points.shape
        return channels, height, width

    @property
    @override
    def count(self) -> int:
        return len(self.points)

    @override
    def partial(self, x: Rows, sigma: float) -> Partial:
        parts = (self._block(x.to(self.dtype), sigma, block) for block in self.points.flatten(1).split(self.block))
        return reduce(Partial.merge, parts)

    def _block(self, x: Rows, sigma: float, block: Float[Tensor, "m n"] | UInt8[Tensor, "m n"]) -> Partial:
        y = block.to(self.dtype)
        y = y / 127.5 - 1 if block.dtype == torch.uint8 else y
        logits = (x @ y.mT - (y**2).sum(1) / 2) / sigma**2  # without ||x||^2, which all share
        top = logits.max(1).values
        weights = (logits - top[:, None]).exp()
        return Partial(top, weights.sum(1), weights @ y)
