"""Preconditioning: how a network's answer becomes the clean prediction D(x; sigma), whatever it was trained to answer.

Karras et al. 2022 (arXiv:2206.00364), Eq. 7 and Table 1. There x = clean + sigma noise, whatever state a sampler keeps.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

from stages.tensors import Time


class Coefficients(NamedTuple):
    """At one noise level: D(x; sigma) = skip x + out F(x / size), where F is the network."""

    sigma: float
    size: float
    skip: float
    out: float


Preconditioning: TypeAlias = Callable[[Time], Coefficients]
"""The coefficients at a step's time, in the unit of the model's own scheduler."""


def edm(sigma: float, sigma_data: float, sign: Literal[-1, 1] = 1) -> Coefficients:
    """Return EDM's coefficients, Table 1, last column; diffusers calls sign 1 epsilon, and sign -1 v."""
    total = math.hypot(sigma, sigma_data)
    return Coefficients(sigma, total, (sigma_data / total) ** 2, sign * sigma * sigma_data / total)


def variance_preserving(sigma: float, predicts: str) -> Coefficients:
    """Return the coefficients of a network that sees x / sqrt(1 + sigma^2) and predicts epsilon, v or the sample."""
    total = math.hypot(sigma, 1.0)
    skip, out = {
        "epsilon": (1.0, -sigma),
        "v_prediction": (1 / total**2, -sigma / total),
        "sample": (0.0, 1.0),
    }[predicts]
    return Coefficients(sigma, total, skip, out)
