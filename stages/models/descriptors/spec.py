"""DescriptorSpec: which descriptor, after which resizing, and the name of its scores. Imports no heavy library."""

import json
import re
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from pydantic import Field

from stages.models.descriptors.published import SHORT_PX, SQUARE_PX, pin
from stages.models.source import descriptor_folder
from stages.models.spec import ModelSpec

Metric: TypeAlias = Literal["cosine", "l2"]
PIXELS = re.compile(r"pixels:([1-9]\d{0,3})")


class DescriptorSpec(ModelSpec):
    """Which descriptor, and how a picture is brought to its size.

    `sscd:NAME[@SHA256]`, `zoo:descriptor`, a local folder in that format, or `pixels:SIDE`.
    """

    resize: Literal["own", "short", "square"] = Field(
        "own",
        description="The descriptor's own choice; the short side to its length; or both sides, squeezed to a square.",
    )


class Sizing(NamedTuple):
    """The size that a picture is brought to: both sides, or the short one where the width is None."""

    height: int
    width: int | None

    def __str__(self) -> str:
        return f"{self.height}" if self.width is None else f"{self.height}x{self.width}"


def sizing(spec: DescriptorSpec) -> Sizing:
    """Return the size that `spec` brings pictures to."""
    if (side := pixels_side(spec.model)) is not None:
        if spec.resize == "short":
            raise ValueError(f"descriptor {spec.model!r}: expected resize own or square, but found short")
        return Sizing(side, side)
    if spec.model.startswith("sscd:"):
        return Sizing(SQUARE_PX, SQUARE_PX) if spec.resize == "square" else Sizing(SHORT_PX, None)
    height, width = _folder_size(descriptor_folder(spec.model))
    return Sizing(min(height, width), None) if spec.resize == "short" else Sizing(height, width)


def score_name(spec: DescriptorSpec) -> str:
    """Return the name of the scores, such as sscd_disc_large@320x320: what has another name must not be compared."""
    if pixels_side(spec.model) is not None:
        return f"pixels@{sizing(spec).height}"
    if spec.model.startswith("sscd:"):
        return f"{pin(spec.model).name}@{sizing(spec)}"
    model = spec.model if spec.model.startswith("zoo:") else descriptor_folder(spec.model).name
    return f"{model}@{sizing(spec)}"


def pixels_side(model: str) -> int | None:
    """Return the side of `pixels:SIDE`, or None for another descriptor."""
    if match := PIXELS.fullmatch(model):
        return int(match[1])
    if model.startswith("pixels:"):
        raise ValueError(f"descriptor {model!r}: expected pixels:SIDE with a side of 1 to 9999, such as pixels:32")
    return None


def _folder_size(path: Path) -> tuple[int, int]:
    try:
        _, height, width = json.loads((path / "config.json").read_text())["input_size"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"descriptor folder {path}: expected config.json with an input_size, but found none"
        ) from error
    return int(height), int(width)
