"""What the descriptor makes of copies and of different pictures, on renders that it has never seen."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageFilter
import PIL.ImageOps
import torch
from jaxtyping import Bool, Float32, Float64, UInt8

from stages.metrics import Bootstrap, Estimate, Mean, Pairs, PrecisionTarget, auc, score_at_precision
from stages.models.descriptors.loading import load_descriptor
from stages.models.descriptors.spec import DescriptorSpec
from stages.models.zoo import Figure, world
from stages.randomness import rng
from tuning.training.zoo.descriptor import KINDS
from tuning.training.zoo.views import jpeg, text

SIDES_PX = (64, 32, 16)
"""Sizes of the pictures that are compared; the smaller are averages of the renders."""


def _crop(picture: PIL.Image.Image, random: np.random.Generator) -> PIL.Image.Image:
    side = round(picture.width * 0.5**0.5)
    left, top = (int(corner) for corner in random.integers(0, picture.width - side + 1, size=2))
    return picture.crop((left, top, left + side, top + side)).resize(picture.size, PIL.Image.Resampling.BICUBIC)


def _jitter(picture: PIL.Image.Image, random: np.random.Generator) -> PIL.Image.Image:
    for change in (PIL.ImageEnhance.Brightness, PIL.ImageEnhance.Contrast, PIL.ImageEnhance.Color):
        picture = change(picture).enhance(float(random.uniform(0.6, 1.4)))
    return picture


def _noise(picture: PIL.Image.Image, random: np.random.Generator) -> PIL.Image.Image:
    noisy = np.asarray(picture) + random.normal(0, 25.5, (picture.height, picture.width, 3))
    return PIL.Image.fromarray(noisy.clip(0, 255).round().astype(np.uint8))


def _text(picture: PIL.Image.Image, random: np.random.Generator) -> PIL.Image.Image:
    return text(picture, torch.Generator().manual_seed(int(random.integers(2**31))))


REDUCED = "reduced to 16 px"
COPIES: dict[str, Callable[[PIL.Image.Image, np.random.Generator], PIL.Image.Image]] = {
    "JPEG of quality 20": lambda picture, _: jpeg(picture, 20),
    "half of the area": _crop,
    "blur of 1.5 px": lambda picture, _: picture.filter(PIL.ImageFilter.GaussianBlur(1.5)),
    "jitter of 40 %": _jitter,
    "mirrored": lambda picture, _: PIL.ImageOps.mirror(picture),
    "text over it": _text,
    "grey": lambda picture, _: picture.convert("L").convert("RGB"),
    "turned by up to 20 degrees": lambda p, random: p.rotate(random.uniform(-20, 20), PIL.Image.Resampling.BILINEAR),
    "noise of 0.1": _noise,
    REDUCED: lambda picture, _: picture.resize((16, 16), PIL.Image.Resampling.BOX),
}


@dataclass(frozen=True)
class Scores:
    """The score of every copy with every original."""

    index: np.ndarray
    """The originals: indices of the image world, int64 [n]."""
    scores: dict[str, Float32[np.ndarray, "n n"]]
    """By kind of copy: rows are copies, columns originals."""

    @property
    def own(self) -> Bool[np.ndarray, "n n"]:
        """Which pairs are a picture and its copy."""
        return np.eye(len(self.index), dtype=bool)

    @property
    def alike(self) -> Bool[np.ndarray, "n n"]:
        """Which pairs are different pictures of the same object and colour."""
        return (self.index[:, None] % KINDS == self.index[None, :] % KINDS) & ~self.own

    @property
    def other(self) -> Bool[np.ndarray, "n n"]:
        """Which pairs are pictures of different objects or colours."""
        return ~self.own & ~self.alike

    def pairs(self, chosen: Bool[np.ndarray, "n n"]) -> Pairs:
        """Return the chosen pairs of all kinds of copy, by the picture that was copied."""
        rows = np.nonzero(chosen)[0]
        every = np.concatenate([scores[chosen] for scores in self.scores.values()])
        return Pairs(every, np.tile(rows, len(self.scores)))

    def by_picture(self, chosen: Bool[np.ndarray, "n n"], above: float | None = None) -> Float64[np.ndarray, " n"]:
        """Return the mean score of the chosen pairs of each picture, or the share of them above a score."""
        every = np.stack(list(self.scores.values())).astype(np.float64)
        together = (every if above is None else every > above).mean(axis=0)
        return np.where(chosen, together, 0).sum(axis=1) / chosen.sum(axis=1)


def measure_scores(folder: Path, side_px: int = world.PIXELS, images: int = 5 * KINDS) -> Scores:
    """Return the scores of held-out pictures of one size; copies are made at full size and then reduced."""
    descriptor = load_descriptor(DescriptorSpec(model=str(folder), batch=64, device="cpu"))
    index = np.arange(world.HELD_OUT, world.HELD_OUT + images)
    renders = world.render(index)
    originals = descriptor.embed(list(reduced(renders, side_px)))
    scores = {}
    for kind, change in COPIES.items():
        if kind == REDUCED and side_px <= 16:  # no change at all
            continue
        copies = [change(PIL.Image.fromarray(p), rng(int(i), kind)) for i, p in zip(index, renders, strict=True)]
        small = [p if p.width <= side_px else p.resize((side_px, side_px), PIL.Image.Resampling.BOX) for p in copies]
        scores[kind] = descriptor.embed([np.asarray(picture) for picture in small]) @ originals.T
    return Scores(index, scores)


def reduced(pictures: UInt8[np.ndarray, "b h h 3"], side_px: int) -> UInt8[np.ndarray, "b s s 3"]:
    """Return pictures averaged to a side that divides theirs."""
    count, side, times = len(pictures), pictures.shape[1], pictures.shape[1] // side_px
    blocks = pictures.reshape(count, side // times, times, side // times, times, 3)
    return blocks.mean(axis=(2, 4)).round().astype(np.uint8)


def descriptor_figures(folder: Path) -> tuple[Figure, ...]:
    """Return how well copies are told from different pictures at each size, and the mean scores at full size."""
    scores = {side: measure_scores(folder, side) for side in SIDES_PX}
    told = [figure for side, found in scores.items() for figure in _told_apart(found, f"{side} px")]
    return (*told, *_means(scores[world.PIXELS]))


def _told_apart(found: Scores, size: str) -> list[Figure]:
    copies, others = found.pairs(found.own), found.pairs(~found.own)
    rarity = f"one copy in {len(found.index)} pairs"
    point = score_at_precision(copies, others, PrecisionTarget(precision=0.9), Bootstrap(resamples=1000))
    score = point.score.value
    estimates = {
        f"AUC, copies against all other pictures, {size}": auc(copies, others),
        f"AUC, copies against the same object and colour, {size}": auc(copies, found.pairs(found.alike)),
        f"score at 90 % precision, {rarity}, {size}": point.score,
        f"copies at it or above, {size}": point.recall,
        f"same object and colour above it, {size}": Mean().of(found.by_picture(found.alike, score)),
        f"all other pictures above it, {size}": Mean().of(found.by_picture(found.other, score)),
    }
    return [_figure(name, estimate, found) for name, estimate in estimates.items()]


def _means(found: Scores) -> list[Figure]:
    means = {f"mean score, {kind}": scores[found.own] for kind, scores in found.scores.items()}
    means["mean score, different pictures, same object and colour"] = found.by_picture(found.alike)
    means["mean score, different pictures, all others"] = found.by_picture(found.other)
    return [_figure(name, Mean().of(values), found) for name, values in means.items()]


def _figure(name: str, estimate: Estimate, found: Scores) -> Figure:
    return Figure(name=name, value=estimate.value, low=estimate.low, high=estimate.high, n=len(found.index))
