"""Edges: a soft map that has gradients, and Canny's, which has none, for verdicts."""

import math
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn.functional import conv2d, pad

from stages.base import Spec

Pictures: TypeAlias = Float[Tensor, "b 3 h w"]
"""Pictures in [0, 1], channels first."""

EdgeMaps: TypeAlias = Float[Tensor, "b 1 h w"]
"""0 where there is no edge, 1 on an edge."""

LUMA = (0.2125, 0.7154, 0.0721)
"""Weights of red, green and blue in grey, as in scikit-image."""


class Edges(Spec):
    """What an edge is: of blurred grey, a magnitude of Sobel's gradient above a threshold.

    The threshold is in the unit of scikit-image's Canny, whose kernel sums to 8: an edge between grey levels that
    differ by d reaches about 2.7 d at sigma_px = 1.
    """

    sigma_px: float = Field(1.0, gt=0, le=16, description="Standard deviation of the blur, in pixels of the picture.")
    threshold: float = Field(
        0.4, gt=0, description="Magnitude at which an edge begins; Canny's weak ones at half of it."
    )
    softness: float = Field(0.05, gt=0, description="Width of the soft threshold, in the unit of the magnitude.")

    def soft(self, pictures: Pictures) -> EdgeMaps:
        """Return soft edges [b 1 h w] in [0, 1] of pictures [b 3 h w] in [0, 1]; differentiable.

        As Canny 1986 begins (doi:10.1109/TPAMI.1986.4767851), but without thinning and hysteresis: an edge is as
        wide as its blur.
        """
        grey = (pictures * pictures.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
        across, along = (self._slope(grey, axis) for axis in (2, 3))
        magnitude = (across**2 + along**2 + 1e-12).sqrt()  # finite slope where nothing changes
        return torch.sigmoid((magnitude - self.threshold) / self.softness)

    def canny(self, pictures: Pictures) -> EdgeMaps:
        """Return Canny's edges [b 1 h w], 0 or 1, of pictures [b 3 h w] in [0, 1]; no gradient. On the CPU."""
        from skimage.color import rgb2gray
        from skimage.feature import canny

        grey = rgb2gray(pictures.detach().double().cpu().numpy(), channel_axis=1)
        limits = {"low_threshold": self.threshold / 2, "high_threshold": self.threshold}
        found = np.stack([canny(one, sigma=self.sigma_px, **limits) for one in grey])  # type: ignore[no-untyped-call]
        return torch.from_numpy(found)[:, None].to(pictures)

    def _slope(self, grey: EdgeMaps, axis: int) -> EdgeMaps:
        """Return Sobel's slope along an axis of the blurred picture, whose border repeats."""
        reach = math.ceil(4 * self.sigma_px)
        at = torch.arange(-reach, reach + 1, dtype=grey.dtype, device=grey.device)
        blur = torch.softmax(-(at**2) / (2 * self.sigma_px**2), dim=0)
        smooth, slope = grey.new_tensor([1.0, 2.0, 1.0]), grey.new_tensor([-1.0, 0.0, 1.0])
        for one in (2, 3):
            grey = _filtered(_filtered(grey, blur, one), slope if one == axis else smooth, one)
        return grey


def _filtered(x: EdgeMaps, kernel: Float[Tensor, " n"], axis: int) -> EdgeMaps:
    half = len(kernel) // 2
    sides, shape = ((0, 0, half, half), (1, 1, -1, 1)) if axis == 2 else ((half, half, 0, 0), (1, 1, 1, -1))
    return conv2d(pad(x, sides, mode="replicate"), kernel.view(shape))
