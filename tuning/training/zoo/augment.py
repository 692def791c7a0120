"""What may happen to a picture before a judge sees it: casts, exposure, contrast, noise, blur, JPEG-like loss.

A shifted seed tints and brightens a picture. A judge that has never seen a tint calls that a failure of the generator,
so these changes are as strong as the shifts under study and stronger.
"""

from functools import cache

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from stages.base import Spec

Pictures = Float[Tensor, "b 3 h w"]


class AugmentSpec(Spec):
    """Largest strength of each change and the share of pictures that it touches."""

    cast: float = Field(default=0.5, ge=0, description="Largest offset of a channel, of full scale.")
    exposure: float = Field(default=0.4, ge=0, description="Largest offset of all channels, of full scale.")
    contrast: float = Field(default=1.1, ge=0, description="Largest logarithm of the factor on the contrast.")
    cloud: float = Field(default=0.35, ge=0, description="Largest smooth local offset, of full scale.")
    noise: float = Field(default=0.2, ge=0, description="Largest standard deviation of the noise, of full scale.")
    blur_px: int = Field(default=18, ge=4, description="Smallest width that a picture is reduced to.")
    quality_steps: float = Field(default=0.25, ge=0, description="Largest quantisation step of 8 x 8 blocks' cosines.")
    share: float = Field(default=0.5, ge=0, le=1, description="Probability of each change.")


def augment(x: Pictures, spec: AugmentSpec, random: torch.Generator) -> Pictures:
    """Return changed pictures, clipped to [0, 1] as a picture file would be."""
    x = _where(_chosen(x, spec.share, random), _blur(x, spec, random), x)
    x = _where(_chosen(x, spec.share, random), _tone(x, spec, random), x)
    x = _where(_chosen(x, spec.share / 2, random), x + _cloud(x, spec.cloud, random), x)
    x = x.clamp(0, 1)
    x = _where(_chosen(x, spec.share / 2, random), _blocks(x, spec.quality_steps, random), x)
    noise = torch.randn(x.shape, generator=random) * _uniform(x, (0, spec.noise), random)
    return _where(_chosen(x, spec.share, random), x + noise, x).clamp(0, 1)


def _tone(x: Pictures, spec: AugmentSpec, random: torch.Generator) -> Pictures:
    """Contrast about the mean, then a cast and an exposure that may push much of the picture out of range."""
    mean = x.mean(dim=(2, 3), keepdim=True)
    factor = torch.exp(_uniform(x, (-spec.contrast, spec.contrast / 2), random))
    cast = (torch.rand(len(x), 3, 1, 1, generator=random) * 2 - 1) * spec.cast
    return mean + (x - mean) * factor + cast + _uniform(x, (-spec.exposure, spec.exposure), random)


def _blur(x: Pictures, spec: AugmentSpec, random: torch.Generator) -> Pictures:
    """Down and up again; one width for all the pictures of the batch."""
    width = int(torch.randint(spec.blur_px, x.shape[-1], (), generator=random))
    small = functional.interpolate(x, size=(width, width), mode="bilinear", antialias=True)
    return functional.interpolate(small, size=x.shape[-2:], mode="bilinear")


def _cloud(x: Pictures, strength: float, random: torch.Generator) -> Pictures:
    coarse = torch.randn(len(x), 3, 5, 5, generator=random) * _uniform(x, (0, strength), random)
    return functional.interpolate(coarse, size=x.shape[-2:], mode="bicubic")


def _blocks(x: Pictures, strength: float, random: torch.Generator) -> Pictures:
    """Round the cosine coefficients of 8 x 8 blocks, as JPEG does, with one step for all frequencies."""
    basis, step = _cosines(), _uniform(x, (0.02, strength), random)[..., None, None]
    tiles = x.unfold(2, 8, 8).unfold(3, 8, 8)  # b 3 rows columns 8 8
    rounded = (basis @ tiles @ basis.T / step).round() * step
    return (basis.T @ rounded @ basis).permute(0, 1, 2, 4, 3, 5).reshape(x.shape)


@cache
def _cosines() -> Float[Tensor, "8 8"]:
    """Return the orthonormal discrete cosine transform of eight samples."""
    k, n = torch.arange(8.0)[:, None], torch.arange(8.0)[None, :]
    basis = torch.cos((n + 0.5) * k * torch.pi / 8) / 2
    basis[0] /= 2**0.5
    return basis


def _chosen(x: Pictures, share: float, random: torch.Generator) -> Bool[Tensor, "b 1 1 1"]:
    return torch.rand(len(x), 1, 1, 1, generator=random) < share


def _where(chosen: Bool[Tensor, "b 1 1 1"], changed: Pictures, x: Pictures) -> Pictures:
    return torch.where(chosen, changed, x)


def _uniform(x: Pictures, limits: tuple[float, float], random: torch.Generator) -> Float[Tensor, "b 1 1 1"]:
    low, high = limits
    return torch.rand(len(x), 1, 1, 1, generator=random) * (high - low) + low
