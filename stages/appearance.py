"""Appearance: colour, brightness and where the eye lands, for each picture."""

from collections.abc import Mapping
from typing import ClassVar, TypeAlias

import numpy as np
from jaxtyping import Float, UInt8
from typing_extensions import override

from stages.base import Batch, Column, Spec, Stage

Picture: TypeAlias = UInt8[np.ndarray, "h w 3"]

BINOMIAL = np.array([1, 4, 6, 4, 1]) / 16
"""The separable 5 x 5 kernel of Achanta et al. 2009, section 3."""


class AppearanceSpec(Spec):
    """Nothing to choose."""


class Appearance(Stage[AppearanceSpec]):
    """Measure colour, brightness and where the eye lands.

    Columns: reads image uint8 [h w 3] or None [b]; writes, all float64 [b] and NaN without a picture: red_mean,
    green_mean, blue_mean, red_std, green_std, blue_std in 0 to 255; brightness, the mean of CIE L* in 0 to 100;
    saliency_x, saliency_y, where the salient part lies from the left and the top in [0, 1], NaN where all is one
    colour.
    """

    reads: ClassVar = ("image",)
    writes: ClassVar = (
        *("red_mean", "green_mean", "blue_mean", "red_std", "green_std", "blue_std"),
        *("brightness", "saliency_x", "saliency_y"),
    )

    @override
    def transform(self, batch: Mapping[str, Column]) -> Batch:
        unknown = np.full(len(self.writes), np.nan)
        measured = [unknown if picture is None else measure(picture) for picture in batch["image"]]
        return dict(zip(self.writes, np.array(measured).reshape(-1, len(self.writes)).T.copy(), strict=True))


def measure(picture: Picture) -> Float[np.ndarray, " 9"]:
    """Return the measures of one picture, in the order of `Appearance.writes`."""
    from skimage.color import rgb2lab

    lab: np.ndarray = rgb2lab(picture)
    mean, std = picture.mean(axis=(0, 1)), picture.std(axis=(0, 1))
    measures: np.ndarray = np.concatenate([mean, std, [lab[..., 0].mean()], centroid(saliency(lab))])
    return measures


def saliency(lab: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """Return frequency-tuned saliency: Achanta et al. 2009 (CVPR, doi:10.1109/CVPR.2009.5206596), Eq. 4."""
    from scipy.ndimage import correlate1d

    blurred: np.ndarray = correlate1d(
        correlate1d(lab, BINOMIAL, axis=0, mode="nearest"), BINOMIAL, axis=1, mode="nearest"
    )
    distance: np.ndarray = np.linalg.norm(lab.mean(axis=(0, 1)) - blurred, axis=-1)
    return distance


def centroid(saliency: Float[np.ndarray, "h w"]) -> Float[np.ndarray, " 2"]:
    """Return x and y, pixel centres in [0, 1], of what is more salient than the mean; NaN where nothing is.

    Weighted by the excess over the mean: an even background would otherwise pull every centroid to the middle.
    """
    height, width = saliency.shape
    weight = np.maximum(saliency - saliency.mean(), 0)
    if (total := float(weight.sum())) < 1e-6 * weight.size:  # rounding only
        return np.full(2, np.nan)
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    return np.array([float(weight.sum(axis=0) @ x), float(weight.sum(axis=1) @ y)]) / total
