"""MoLRG: a mixture of low-rank Gaussians, "Diffusion Models Learn Low-Dimensional Distributions" (arXiv:2409.02426)."""

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from typing_extensions import override

from stages.models.analytic.base import AnalyticModel, Densities, Rows
from stages.randomness import rng
from stages.tensors import Latents


class MoLRG(AnalyticModel):
    """Pictures from sum_k weight_k N(0, U_k U_k^T), where U_k are the next `ranks[k]` columns of `basis`.

    Each U_k must be orthonormal; they need not be orthogonal to each other. The formulas are those of the paper at
    signal 1 and noise sigma, with the determinant that unequal ranks need.
    """

    kind: ClassVar = "molrg"

    def __init__(
        self, basis: Float[Tensor, "c h w d"], ranks: Int64[Tensor, " k"], weights: Float[Tensor, " k"]
    ) -> None:
        super().__init__()
        if int(ranks.sum()) != basis.shape[-1] or len(weights) != len(ranks) or not math.isclose(weights.sum(), 1):
            raise ValueError(
                f"molrg: expected {basis.shape[-1]} columns in all ranks, and as many weights, of sum 1; "
                f"found ranks {ranks.tolist()} and weights {weights.tolist()}"
            )
        self.register_buffer("basis", basis.to(self.dtype))
        self.register_buffer("ranks", ranks)
        self.register_buffer("weights", weights.to(self.dtype))
        owner = torch.arange(len(ranks)).repeat_interleave(ranks)
        self.register_buffer("owner", torch.nn.functional.one_hot(owner, len(ranks)).to(self.dtype), persistent=False)
        self._check_orthonormal()

    basis: Tensor
    ranks: Tensor
    weights: Tensor
    owner: Tensor
    """1 where a column belongs to a component, columns by components."""

    def _check_orthonormal(self) -> None:
        same = self.owner @ self.owner.mT
        if not torch.allclose(
            self._columns.mT @ self._columns * same, torch.eye(len(same), dtype=self.dtype), atol=1e-6
        ):
            raise ValueError("molrg: expected orthonormal columns in each component, found others")

    @property
    @override
    def shape(self) -> tuple[int, int, int]:
        channels, height, width, _ = self.basis.shape
        return channels, height, width

    @property
    def _columns(self) -> Float[Tensor, "n d"]:
        return self.basis.flatten(0, 2)

    @override
    def denoise_rows(self, x: Rows, sigma: float) -> Rows:
        coordinates = x @ self._columns
        weights = self._responsibilities(coordinates, sigma) @ self.owner.mT
        return (weights * coordinates) @ self._columns.mT / (1 + sigma**2)

    @override
    def log_density_rows(self, x: Rows, sigma: float) -> Densities:
        size = x.shape[1]
        outside = (x**2).sum(1) / sigma**2 + size * math.log(2 * math.pi * sigma**2)
        return self._logits(x @ self._columns, sigma).logsumexp(1) - 0.5 * outside

    def responsibilities(self, x: Latents, sigma: float) -> Float[Tensor, "b k"]:
        """Return the posterior probability of each component."""
        return self._responsibilities(x.to(self.dtype).flatten(1) @ self._columns, sigma)

    def _responsibilities(self, coordinates: Float[Tensor, "b d"], sigma: float) -> Float[Tensor, "b k"]:
        return self._logits(coordinates, sigma).softmax(1)

    def _logits(self, coordinates: Float[Tensor, "b d"], sigma: float) -> Float[Tensor, "b k"]:
        phi = 1 / (2 * sigma**2 * (1 + sigma**2))
        volume = self.ranks.to(self.dtype) * (0.5 * math.log1p(1 / sigma**2))
        return self.weights.log() + phi * coordinates**2 @ self.owner - volume

    @override
    def jacobian(self, x: Float[Tensor, "c h w"], sigma: float) -> Float[Tensor, "n n"]:
        """Return dD/dx in closed form: symmetric, of rank at most the sum of ranks."""
        flat = x.to(self.dtype).flatten()
        coordinates = flat @ self._columns
        weights = self._responsibilities(coordinates[None], sigma)[0]
        parts = (self._columns * coordinates) @ self.owner  # P_k x, a column each
        mean = parts @ weights
        phi = 1 / (2 * sigma**2 * (1 + sigma**2))
        spread = (parts * weights) @ parts.mT - torch.outer(mean, mean)
        kept = (self._columns * (self.owner @ weights)) @ self._columns.mT
        return (kept + 2 * phi * spread) / (1 + sigma**2)

    def sample(self, count: int, seed: int) -> Latents:
        """Return pictures of this distribution."""
        generator = rng(seed, "molrg", "sample")
        component = generator.choice(len(self.ranks), size=count, p=self.weights.cpu().numpy())
        drawn = torch.from_numpy(generator.standard_normal((count, self.basis.shape[-1]))).to(self.basis.device)
        chosen = drawn * self.owner.mT[torch.from_numpy(component).to(self.basis.device)]
        return (chosen @ self._columns.mT).view(count, *self.shape)


def random_molrg(shape: tuple[int, int, int], ranks: Sequence[int], seed: int) -> MoLRG:
    """Return a mixture of equal weights whose components are random and orthogonal to each other."""
    size, total = int(np.prod(shape)), sum(ranks)
    if total > size:
        raise ValueError(f"molrg: expected ranks that add up to at most {size}, found {list(ranks)}")
    columns, _, _ = np.linalg.svd(rng(seed, "molrg", "basis").standard_normal((size, total)), full_matrices=False)
    weights = torch.full((len(ranks),), 1 / len(ranks), dtype=torch.float64)
    return MoLRG(torch.from_numpy(columns).view(*shape, total), torch.tensor(ranks), weights)
