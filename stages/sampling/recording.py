"""Recording: what is kept of a row's trajectory besides its picture. Imports no heavy library."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from stages.base import Spec


class Recording(Spec):
    """What is kept of a row's trajectory besides its picture; the step lengths always are.

    Columns, all objects with one array a row and None where it has none: step_distance float32 [k], the root mean
    square that the state moves at each of k steps; control_distance float32 [k + 1], how far it is from the control's,
    from the first state to the last; projection float32 [k + 1, 2]; strip uint8 [frames h w 3], clean predictions;
    channel_z float32 [k + 1, c], each channel's mean times sqrt(h w), of noise standard normal numbers, and signal
    float32 [k + 1], the alpha-bar of each state, NaN in a flow; states float32 [k + 1, c h w].
    """

    control: bool = Field(
        False, description="Distance from the control's trajectory, drawn beside from the same noise: twice the cost."
    )
    plane: str | None = Field(
        None, min_length=1, description="File of a plane, written by `save_plane`, to project the states onto."
    )
    frames: int = Field(0, ge=0, description="Predicted clean pictures in a strip, evenly spread over the steps.")
    frames_of: tuple[int, ...] = Field((), description="Seeds whose rows get a strip.")
    channels: bool = Field(
        False, description="The mean of each channel, the directions in which mean shifts go, and alpha-bar."
    )
    states: bool = Field(False, description="Every state: as many times the size of a latent as there are states.")

    def writes(self) -> tuple[str, ...]:
        """Return the columns that this recording adds."""
        wanted = {
            "step_distance": True,
            "control_distance": self.control,
            "projection": self.plane is not None,
            "strip": self.frames > 0,
            "channel_z": self.channels,
            "signal": self.channels,
            "states": self.states,
        }
        return tuple(name for name, asked in wanted.items() if asked)


def together(recordings: Iterable[Recording]) -> Recording | None:
    """Return a recording that writes what each of them does, onto one plane; None of none."""
    listed = list(recordings)
    if not listed:
        return None
    return Recording(
        control=any(r.control for r in listed),
        plane=next((r.plane for r in listed if r.plane), None),
        frames=max(r.frames for r in listed),
        frames_of=tuple(dict.fromkeys(seed for r in listed for seed in r.frames_of)),
        channels=any(r.channels for r in listed),
        states=any(r.states for r in listed),
    )


class Trace(NamedTuple):
    """What was kept of one row's trajectory, by column; None where nothing was asked for."""

    step_distance: Float32[np.ndarray, " k"]
    control_distance: Float32[np.ndarray, " states"] | None = None
    projection: Float32[np.ndarray, "states 2"] | None = None
    strip: np.ndarray | None = None
    channel_z: Float32[np.ndarray, "states c"] | None = None
    signal: Float32[np.ndarray, " states"] | None = None
    states: Float32[np.ndarray, "states n"] | None = None


def normalised(distances: Float32[np.ndarray, " k"]) -> Float32[np.ndarray, " k"]:
    """Return step lengths as shares of the whole way; NaN where the state never moved."""
    total = distances.sum()
    return distances / total if total > 0 else np.full_like(distances, np.nan)


def spread_over(calls: int, frames: int) -> list[int]:
    """Return the numbers of the calls that a strip of `frames` shows: the first, the last, and evenly between."""
    return sorted({int(number) for number in np.linspace(0, calls - 1, frames).round()}) if frames else []
