"""Descriptor: pictures in, one vector each out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import PIL.Image
from jaxtyping import Float32, UInt8

from stages.models.descriptors.spec import Metric
from stages.models.preprocess import Picture

AnyPicture: TypeAlias = UInt8[np.ndarray, "..."]
"""One picture: grey [h w], grey with transparency [h w 2], RGB [h w 3] or RGBA [h w 4]."""


class Descriptor(ABC):
    """Pictures in, one vector each out. Law: a picture's vector does not depend on the pictures beside it."""

    name: str
    """The name of its scores."""
    dimension: int
    metric: Metric
    """How two vectors are compared: by their inner product, which is a cosine, or by their Euclidean distance."""

    @abstractmethod
    def embed(self, pictures: Sequence[AnyPicture]) -> Float32[np.ndarray, "n d"]:
        """Return one vector per picture, of unit norm where the metric is the cosine."""


def red_green_blue(picture: AnyPicture) -> Picture:
    """Return a picture as RGB: grey is repeated and transparency dropped, as Pillow's conversion does."""
    if picture.ndim == 3 and picture.shape[2] == 3:
        return picture
    if picture.ndim == 3 and picture.shape[2] == 1:
        picture = picture[:, :, 0]
    if picture.ndim != 2 and (picture.ndim != 3 or picture.shape[2] not in (2, 4)):
        raise ValueError(f"a picture expects the shape [h w] or [h w 1..4], but has {picture.shape}")
    return np.asarray(PIL.Image.fromarray(picture).convert("RGB"))
