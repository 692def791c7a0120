"""Preprocess: pictures to what a classifier or CLIP expects, its own transform applied."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import PIL.Image
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

Picture: TypeAlias = UInt8[np.ndarray, "_ _ 3"]
"""One picture; the sizes of several may differ."""


class Preprocess:
    """Pictures to what a model expects: its own transform, or one tensor operation where that gives the same bits.

    Pictures of the model's own size pass a transform whose resizing and cropping leave them alone: only the scaling to
    [0, 1] and the normalization remain.
    """

    def __init__(
        self,
        transform: Callable[[PIL.Image.Image], Tensor],
        unchanged: tuple[int, int] | None,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        self.transform = transform
        self.unchanged = unchanged
        """Height and width of the pictures that resizing and cropping leave alone; None if there are none."""
        self.mean = torch.tensor(mean).view(1, 3, 1, 1)
        self.std = torch.tensor(std).view(1, 3, 1, 1)

    def __call__(self, pictures: Sequence[Picture]) -> Float[Tensor, "b 3 h w"]:
        """Return the model's input."""
        if self.unchanged and all(picture.shape[:2] == self.unchanged for picture in pictures):
            return self.normalised(pictures)
        return torch.stack([self.transform(PIL.Image.fromarray(picture)) for picture in pictures])

    def normalised(self, pictures: Sequence[Picture]) -> Float[Tensor, "b 3 h w"]:
        """Return pictures of one size, neither resized nor cropped, scaled to [0, 1] and normalised."""
        x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().div(255)
        return x.sub_(self.mean).div_(self.std).contiguous()
