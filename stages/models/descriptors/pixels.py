"""Pixels: the picture itself as its descriptor."""

from collections.abc import Sequence

import numpy as np
import PIL.Image
from jaxtyping import Float32
from typing_extensions import override

from stages.models.descriptors.base import AnyPicture, Descriptor, red_green_blue
from stages.models.descriptors.spec import Metric


class Pixels(Descriptor):
    """The picture, resized to a square (Pillow's bilinear filter), in [0, 1] and flattened row by row."""

    metric: Metric = "l2"

    def __init__(self, name: str, side: int) -> None:
        self.name, self.side, self.dimension = name, side, 3 * side**2

    @override
    def embed(self, pictures: Sequence[AnyPicture]) -> Float32[np.ndarray, "n d"]:
        found = np.empty((len(pictures), self.dimension), np.float32)
        for row, picture in enumerate(pictures):
            found[row] = self._resized(picture).reshape(-1)
        return found / np.float32(255)

    def _resized(self, picture: AnyPicture) -> np.ndarray:
        rgb = red_green_blue(picture)
        if rgb.shape[:2] == (self.side, self.side):
            return rgb
        return np.asarray(PIL.Image.fromarray(rgb).resize((self.side, self.side), PIL.Image.Resampling.BILINEAR))
