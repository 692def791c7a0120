"""Recording: what is kept of a row's trajectory besides its picture. Imports no heavy library."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from stages.base import Spec


class Recording(Spec):
    """What is kept of a row's trajectory besides its picture; the step lengths always are.

    Columns, all objects with one array a row and None where it has none: step_distance float32 [k], the root mean
    square that the state moves at each of k steps; control_distance float32 [k + 1], how far it is from the control's,
    from the first state to the last; projection float32 [k + 1, 2]; strip uint8 [frames h w 3], clean predictions.
    """

    control: bool = Field(
        False, description="Distance from the control's trajectory, drawn beside from the same noise: twice the cost."
    )
    plane: str | None = Field(
        None, min_length=1, description="File of a plane, written by `save_plane`, to project the states onto."
    )
    frames: int = Field(0, ge=0, description="Predicted clean pictures in a strip, evenly spread over the steps.")
    frames_of: tuple[int, ...] = Field((), description="Seeds whose rows get a strip.")

    def writes(self) -> tuple[str, ...]:
        """Return the columns that this recording adds."""
        wanted = {
            "step_distance": True,
            "control_distance": self.control,
            "projection": self.plane is not None,
            "strip": self.frames > 0,
        }
        return tuple(name for name, asked in wanted.items() if asked)


class Trace(NamedTuple):
    """What was kept of one row's trajectory, by column; None where nothing was asked for."""

    step_distance: Float32[np.ndarray, " k"]
    control_distance: Float32[np.ndarray, " states"] | None = None
    projection: Float32[np.ndarray, "states 2"] | None = None
    strip: np.ndarray | None = None


def normalised(distances: Float32[np.ndarray, " k"]) -> Float32[np.ndarray, " k"]:
    """Return step lengths as shares of the whole way; NaN where the state never moved."""
    total = distances.sum()
    return distances / total if total > 0 else np.full_like(distances, np.nan)


def spread_over(calls: int, frames: int) -> list[int]:
    """Return the numbers of the calls that a strip of `frames` shows: the first, the last, and evenly between."""
    return sorted({int(number) for number in np.linspace(0, calls - 1, frames).round()}) if frames else []
