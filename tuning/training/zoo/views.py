"""Views of a picture, as copies of it look: cropped, turned, recoloured, blurred, scaled, written over, saved."""

import io
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from stages.base import Spec

Pictures = Float[Tensor, "b 3 h w"]
Values = Float[Tensor, " b"]
LUMA = (0.299, 0.587, 0.114)


class ViewSpec(Spec):
    """The share of pictures that each change touches, and its range."""

    smallest_area: float = Field(default=0.35, gt=0, le=1, description="Smallest share of the picture that is kept.")
    largest_stretch: float = Field(default=1.35, ge=1, description="Largest ratio of the sides of what is kept.")
    flip: float = Field(default=0.5, ge=0, le=1)
    turn: float = Field(default=0.3, ge=0, le=1)
    largest_turn_degrees: float = Field(default=30.0, ge=0, le=180)
    quarter_turn: float = Field(default=0.05, ge=0, le=1)
    jitter: float = Field(default=0.8, ge=0, le=1)
    jitter_strength: float = Field(default=0.4, ge=0, lt=1, description="Largest change of each factor.")
    hue_degrees: float = Field(default=20.0, ge=0, le=180)
    grey: float = Field(default=0.2, ge=0, le=1)
    text: float = Field(default=0.15, ge=0, le=1)
    blur: float = Field(default=0.3, ge=0, le=1)
    largest_blur_px: float = Field(default=2.5, gt=0.3, description="Largest standard deviation of the Gaussian.")
    scaled: float = Field(default=0.3, ge=0, le=1)
    widths_px: tuple[int, ...] = Field(default=(16, 20, 24, 32, 48), description="Widths that it is scaled down to.")
    noise: float = Field(default=0.2, ge=0, le=1)
    largest_noise: float = Field(default=0.15, ge=0, description="Largest standard deviation, of full scale.")
    jpeg: float = Field(default=0.25, ge=0, le=1)
    lowest_quality: int = Field(default=10, ge=1, le=95)


def view(x: Pictures, spec: ViewSpec, random: torch.Generator) -> Pictures:
    """Return one view of each picture, in [0, 1]."""
    x = geometry(x, spec, random)
    x = _some(x, spec.jitter, random, lambda y: jitter(y, spec, random))
    x = _some(x, spec.grey, random, grey)
    x = _some(x, spec.text, random, lambda y: _each(y, lambda picture: text(picture, random)))
    x = _some(x, spec.blur, random, lambda y: blur(y, _between(0.3, spec.largest_blur_px, random)))
    for width in spec.widths_px:
        x = _some(x, spec.scaled / len(spec.widths_px), random, partial(scaled, width=width))
    x = _some(x, spec.noise, random, lambda y: noise(y, spec.largest_noise, random))
    return _some(x, spec.jpeg, random, lambda y: _each(y, lambda picture: _saved(picture, spec, random)))


def geometry(x: Pictures, spec: ViewSpec, random: torch.Generator) -> Pictures:
    """Crop, turn and mirror in one resampling; what lies outside the picture is black."""
    b = len(x)
    area = _uniform(b, spec.smallest_area, 1, random)
    stretch = torch.exp(_uniform(b, -0.5, 0.5, random) * math.log(spec.largest_stretch))
    across, down = ((area.sqrt() * s).clamp(max=1) for s in (stretch, 1 / stretch))
    left, top = ((1 - side) * _uniform(b, -1, 1, random) for side in (across, down))
    mirrored = 1 - 2 * _chosen(b, spec.flip, random).float()
    turned = _chosen(b, spec.turn, random) * _uniform(b, -1, 1, random) * math.radians(spec.largest_turn_degrees)
    turned = turned + _chosen(b, spec.quarter_turn, random) * (math.pi / 2)
    cosine, sine = turned.cos(), turned.sin()
    rows = [across * cosine * mirrored, -across * sine, left, down * sine * mirrored, down * cosine, top]
    grid = functional.affine_grid(torch.stack(rows, dim=1).view(b, 2, 3), list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


def jitter(x: Pictures, spec: ViewSpec, random: torch.Generator) -> Pictures:
    """Change brightness, contrast, saturation and hue."""
    low, high = 1 - spec.jitter_strength, 1 + spec.jitter_strength
    brightness, contrast, saturation = (_uniform(len(x), low, high, random).view(-1, 1, 1, 1) for _ in range(3))
    x = x * brightness
    mean = grey(x).mean(dim=(1, 2, 3), keepdim=True)
    x = mean + (x - mean) * contrast
    plain = grey(x)
    angle = _uniform(len(x), -1, 1, random) * math.radians(spec.hue_degrees)
    return (plain + _turn_hue(x - plain, angle) * saturation).clamp(0, 1)


def _turn_hue(colour: Pictures, angle: Values) -> Pictures:
    """Rotate about the grey axis: Rodrigues' formula with k = (1, 1, 1) / sqrt(3)."""
    cosine, sine = (f(angle).view(-1, 1, 1, 1) for f in (torch.cos, torch.sin))
    crossed = (colour.roll(-1, dims=1) * -1 + colour.roll(1, dims=1)) / math.sqrt(3)
    along = colour.mean(dim=1, keepdim=True)
    return colour * cosine + crossed * sine + along * (1 - cosine)


def grey(x: Pictures) -> Pictures:
    """Return the luma of each picture in all its channels."""
    return (x * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True).expand_as(x)


def blur(x: Pictures, sigma_px: float) -> Pictures:
    """Convolve with a Gaussian, reflecting at the edges."""
    reach = math.ceil(3 * sigma_px)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1.0) / sigma_px) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1).repeat(3, 1, 1, 1)
    padded = functional.pad(x, (reach,) * 4, mode="reflect")
    return functional.conv2d(functional.conv2d(padded, kernel, groups=3), kernel.transpose(2, 3), groups=3)


def scaled(x: Pictures, width: int) -> Pictures:
    """Scale down to a width, averaging, and up again."""
    small = functional.interpolate(x, size=(width, width), mode="bilinear", antialias=True)
    return functional.interpolate(small, size=x.shape[-2:], mode="bilinear").clamp(0, 1)


def noise(x: Pictures, largest: float, random: torch.Generator) -> Pictures:
    """Add Gaussian noise."""
    std = _uniform(len(x), 0, largest, random).view(-1, 1, 1, 1)
    return (x + torch.randn(x.shape, generator=random) * std).clamp(0, 1)


def text(picture: PIL.Image.Image, random: torch.Generator) -> PIL.Image.Image:
    """Write a word somewhere over the picture, in some colour."""
    written = picture.copy()
    letters = "".join(chr(65 + int(n)) for n in torch.randint(26, (int(_between(3, 8, random)),), generator=random))
    colour = tuple(torch.randint(256, (3,), generator=random).tolist())
    place = _between(0, picture.width * 0.4, random), _between(0, picture.height * 0.75, random)
    size = _between(picture.height / 6, picture.height / 3, random)
    PIL.ImageDraw.Draw(written).text(place, letters, fill=colour, font=PIL.ImageFont.load_default(size))
    return written


def jpeg(picture: PIL.Image.Image, quality: int) -> PIL.Image.Image:
    """Save as JPEG, and open again."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return PIL.Image.open(file)


def _saved(picture: PIL.Image.Image, spec: ViewSpec, random: torch.Generator) -> PIL.Image.Image:
    return jpeg(picture, int(_between(spec.lowest_quality, 96, random)))


def _each(x: Pictures, change: Callable[[PIL.Image.Image], PIL.Image.Image]) -> Pictures:
    """Change 8-bit pictures one by one."""
    arrays = x.permute(0, 2, 3, 1).mul(255).round().byte().numpy()
    changed = np.stack([np.asarray(change(PIL.Image.fromarray(array))) for array in arrays])
    return torch.from_numpy(changed).permute(0, 3, 1, 2).float().div(255)


def _some(x: Pictures, share: float, random: torch.Generator, change: Callable[[Pictures], Pictures]) -> Pictures:
    """Change each picture with probability `share`."""
    chosen = _chosen(len(x), share, random)
    if not chosen.any():
        return x
    x = x.clone()
    x[chosen] = change(x[chosen])
    return x


def _chosen(count: int, share: float, random: torch.Generator) -> Tensor:
    return torch.rand(count, generator=random) < share


def _uniform(count: int, low: float, high: float, random: torch.Generator) -> Values:
    return torch.rand(count, generator=random) * (high - low) + low


def _between(low: float, high: float, random: torch.Generator) -> float:
    return float(_uniform(1, low, high, random))
