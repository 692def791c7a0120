"""The score above which two pictures count as the same one: from the config, or calibrated with the descriptor."""

from typing import NamedTuple

from stages.models import zoo
from stages.models.outline import outline
from stages.sampling import SamplerSpec

CALIBRATED = "score at 90 % precision"


class Threshold(NamedTuple):
    """A score, and where it comes from."""

    value: float
    source: str


def threshold(given: float | None, descriptor: str, model: str, sampler: SamplerSpec) -> Threshold:
    """Return the given threshold, or the calibrated one of a descriptor for pictures of a model's size.

    Raises `ValueError` where there is neither: a threshold holds for one descriptor, resizing and kind of pictures.
    """
    if given is not None:
        return Threshold(given, "from the config")
    known = outline(model)
    side = sampler.size_px or (known.side and known.side * known.pixels)
    if descriptor.startswith("zoo:") and (found := calibrated(descriptor, side)):
        return found
    raise ValueError(f"threshold: expected a number, since {descriptor} comes with no calibrated one, found null")


def calibrated(descriptor: str, side_px: int | None) -> Threshold | None:
    """Return the score at which nine of ten found pairs are copies, from the descriptor's card."""
    figures = [f for f in zoo.card(descriptor.removeprefix("zoo:")).figures if f.name.startswith(CALIBRATED)]
    fitting = [f for f in figures if f.name.endswith(f", {side_px} px")] or figures
    return Threshold(round(fitting[0].value, 4), f"{descriptor}'s card: {fitting[0].name}") if fitting else None
