"""What changes the style of a picture and keeps its shapes: other amplitudes, other colours, and the negative.

A classifier that sees these must go by outlines, since neither colours nor textures tell it anything.
"""

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from stages.base import Spec

Pictures = Float[Tensor, "b 3 h w"]


class StyleSpec(Spec):
    """The share of pictures that each change touches, and its strength."""

    mix: float = Field(default=0.5, ge=0, le=1, description="Share of pictures with amplitudes of another.")
    largest_mix: float = Field(default=1.0, ge=0, le=1, description="Largest part of another picture's amplitudes.")
    recolour: float = Field(default=0.5, ge=0, le=1)
    colour_spread: float = Field(
        default=0.7, ge=0, description="Standard deviation of a 3 x 3 map of colours about the identity."
    )
    negative: float = Field(default=0.25, ge=0, le=1)


def restyle(x: Pictures, spec: StyleSpec, random: torch.Generator) -> Pictures:
    """Return pictures of the same shapes in other styles, clipped to [0, 1]."""
    x = torch.where(_chosen(x, spec.mix, random), mix_amplitudes(x, spec.largest_mix, random), x)
    x = torch.where(_chosen(x, spec.recolour, random), recolour(x, spec.colour_spread, random), x)
    return torch.where(_chosen(x, spec.negative, random), 1 - x, x).clamp(0, 1)


def mix_amplitudes(x: Pictures, largest: float, random: torch.Generator) -> Pictures:
    """Return pictures with their own phases, and amplitudes between their own and those of another of the batch.

    Amplitude mix of Xu et al. 2021 (arXiv:2105.14487): the phase carries the shape, the amplitude the style.
    """
    spectrum = torch.fft.rfft2(x)
    own = spectrum.abs()
    other = own[torch.randperm(len(x), generator=random)]
    share = torch.rand(len(x), 1, 1, 1, generator=random) * largest
    return torch.fft.irfft2(torch.polar(torch.lerp(own, other, share), spectrum.angle()), s=x.shape[-2:])


def recolour(x: Pictures, spread: float, random: torch.Generator) -> Pictures:
    """Return pictures whose channels are random mixtures of all three, about mid-grey."""
    mixture = torch.eye(3) + spread * torch.randn(len(x), 3, 3, generator=random)
    return torch.einsum("bij,bjhw->bihw", mixture, x - 0.5) + 0.5


def _chosen(x: Pictures, share: float, random: torch.Generator) -> Tensor:
    return torch.rand(len(x), 1, 1, 1, generator=random) < share
