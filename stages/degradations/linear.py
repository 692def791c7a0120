"""LinearMap: a degradation of one batch, as tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stages.degradations import Degradation
from stages.randomness import rng

Whole: TypeAlias = Float[Tensor, "b c s s"]
"""Square pictures, channels first."""

Seen: TypeAlias = Float[Tensor, "b c m m"]
"""What is seen of them."""


@dataclass(frozen=True)
class LinearMap:
    """A x = axis (keep * x) axis^T, for each row and channel."""

    axis: Float[Tensor, "m s"]
    keep: Float[Tensor, "b 1 s s"]

    def __call__(self, x: Whole) -> Seen:
        """Return A x."""
        return self.axis @ (self.keep * x) @ self.axis.mT

    def adjoint(self, y: Seen) -> Whole:
        """Return A^T y."""
        return self.keep * (self.axis.mT @ y @ self.axis)

    def to(self, device: torch.device) -> "LinearMap":
        """Return the same map on another device."""
        return LinearMap(self.axis.to(device), self.keep.to(device))


def linear_map(
    degradation: Degradation, side: int, seeds: Sequence[int], dtype: torch.dtype = torch.float32
) -> LinearMap:
    """Return the map of a batch of pictures; what a row chooses comes from its own seed."""
    keep = np.stack([degradation.keep(side, rng(seed, "mask")) for seed in seeds])
    return LinearMap(torch.from_numpy(degradation.axis(side)).to(dtype), torch.from_numpy(keep)[:, None].to(dtype))
