"""Gaussian pictures: the denoiser is linear, and the sampling ODE has a solution in closed form."""

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from stages.models.analytic.base import AnalyticModel, Densities, Rows
from stages.tensors import Latents


class Gaussian(AnalyticModel):
    """Pictures from N(mean, covariance); the covariance may be singular."""

    kind: ClassVar = "gaussian"

    def __init__(self, mean: Float[Tensor, "c h w"], covariance: Float[Tensor, "n n"]) -> None:
        super().__init__()
        if covariance.shape != (mean.numel(), mean.numel()) or not torch.allclose(covariance, covariance.mT):
            raise ValueError(
                f"gaussian: expected a symmetric covariance of {mean.numel()} x {mean.numel()}, "
                f"found {tuple(covariance.shape)}"
            )
        self.register_buffer("mean", mean.to(self.dtype))
        self.register_buffer("covariance", covariance.to(self.dtype))
        variances, axes = torch.linalg.eigh(covariance.to(self.dtype))
        if variances[0] < -1e-6 * variances[-1].abs():
            raise ValueError(f"gaussian: expected no negative variance, found {float(variances[0]):g}")
        self.register_buffer("variances", variances.clamp(min=0), persistent=False)
        self.register_buffer("axes", axes, persistent=False)

    mean: Tensor
    covariance: Tensor
    variances: Tensor
    axes: Tensor

    @property
    @override
    def shape(self) -> tuple[int, int, int]:
        channels, height, width = self.mean.shape
        return channels, height, width

    @override
    def denoise_rows(self, x: Rows, sigma: float) -> Rows:
        return self._scaled(x, self.variances / (self.variances + sigma**2))

    @override
    def log_density_rows(self, x: Rows, sigma: float) -> Densities:
        total = self.variances + sigma**2
        coordinates = (x - self.mean.flatten()) @ self.axes
        return -0.5 * ((coordinates**2 / total).sum(1) + total.log().sum() + len(total) * math.log(2 * math.pi))

    def transport(self, x: Latents, start: float, end: float) -> Latents:
        """Return where the probability flow takes `x` from one noise level to another, exactly.

        Along an axis of variance v the ODE dx/dsigma = (x - D) / sigma scales by sqrt((v + end^2) / (v + start^2)).
        """
        factors = ((self.variances + end**2) / (self.variances + start**2)).sqrt()
        return self._scaled(x.to(self.dtype).flatten(1), factors).view(x.shape)

    def _scaled(self, x: Rows, factors: Float[Tensor, " n"]) -> Rows:
        mean = self.mean.flatten()
        return mean + ((x - mean) @ self.axes * factors) @ self.axes.mT
