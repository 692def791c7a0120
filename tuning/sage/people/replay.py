"""Replay: a failure drawn again from what is kept of it. It needs the model and no classifier."""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from pipelines.config import UserError
from stages.models.source import fingerprint
from stages.models.spec import ModelSpec
from tuning.sage.failures import Picture, Saved, redraw, sha256


class Replay(NamedTuple):
    """A picture drawn again, and how far it is from the one that was found, in levels of 8 bits."""

    picture: Picture
    same: bool
    """Bit for bit."""
    largest: int
    mean: float


def replay(saved: Saved, device: Literal["cpu", "cuda"] = "cpu", threads: int = 1) -> Replay:
    """Draw a failure again. Raises `UserError` where its model is not there, or its weights are others."""
    from stages.models.generator import Stepwise
    from stages.models.loading import load_generator

    model = saved.failure.model
    check_weights(saved)
    torch.set_num_threads(threads)
    try:
        generator = load_generator(ModelSpec(model=model, device=device, dtype="float32", threads=threads))
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    if not isinstance(generator, Stepwise):
        raise UserError(f"replay: expected a model whose steps our own loop takes, found {model!r}, which runs its own")
    return compare(saved, redraw(saved, generator))


def check_weights(saved: Saved) -> None:
    """Raise `UserError` where the weights that the model's name stands for here are not those of the failure."""
    failure = saved.failure
    try:
        found = fingerprint(failure.model)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    if found != failure.revision:
        raise UserError(
            f"replay: expected the weights {failure.revision} behind {failure.model!r}, found {found}; "
            "get those, other weights draw another picture"
        )


def compare(saved: Saved, picture: Picture) -> Replay:
    """Return how far a picture is from that of a failure. Raises `UserError` for one of another size."""
    if picture.shape != saved.after.shape:
        raise UserError(f"replay: expected a picture of shape {saved.after.shape}, found {picture.shape}")
    off = np.abs(picture.astype(np.int64) - saved.after)
    return Replay(picture, sha256(picture) == saved.failure.sha256, int(off.max()), float(off.mean()))


def write(picture: Picture, file: Path) -> None:
    """Write a picture as PNG."""
    from PIL import Image

    Image.fromarray(picture).save(file, "PNG")
