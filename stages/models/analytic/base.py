"""AnalyticModel: a distribution of pictures whose every denoising answer is known."""

from abc import ABC, abstractmethod
from typing import ClassVar, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stages.tensors import Latents

Rows: TypeAlias = Float[Tensor, "b n"]
"""Pictures as vectors."""

Densities: TypeAlias = Float[Tensor, " b"]


class AnalyticModel(nn.Module, ABC):
    """A distribution of pictures in [-1, 1], seen through x = clean + sigma noise.

    Its state dictionary holds all that it is; the constructor takes the same tensors by name.
    """

    kind: ClassVar[str]
    dtype: torch.dtype = torch.float64
    """What answers are computed in, whatever the type of the question."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """The channels, height and width of a picture."""

    @abstractmethod
    def denoise_rows(self, x: Rows, sigma: float) -> Rows:
        """Return E[clean | x]."""

    @abstractmethod
    def log_density_rows(self, x: Rows, sigma: float) -> Densities:
        """Return the logarithm of the density of x."""

    def denoise(self, x: Latents, sigma: float) -> Latents:
        """Return the posterior mean D(x; sigma) = E[clean | x]."""
        return self.denoise_rows(x.to(self.dtype).flatten(1), sigma).view(x.shape)

    def log_density(self, x: Latents, sigma: float) -> Densities:
        """Return the natural logarithm of the density of x at this noise level."""
        return self.log_density_rows(x.to(self.dtype).flatten(1), sigma)

    def score(self, x: Latents, sigma: float) -> Latents:
        """Return the gradient of the log density: Karras et al. 2022 (arXiv:2206.00364), Eq. 3."""
        return (self.denoise(x, sigma) - x) / sigma**2

    def jacobian(self, x: Float[Tensor, "c h w"], sigma: float) -> Float[Tensor, "n n"]:
        """Return dD/dx at one picture, as a matrix over its entries. Costs n^2 numbers."""
        flat = x.to(self.dtype).flatten()
        found: Tensor = torch.func.jacrev(lambda row: self.denoise_rows(row[None], sigma)[0])(flat)
        return found
