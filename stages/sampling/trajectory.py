"""Trajectories: how far the state moves at each step, and how far a perturbed row stays from its control.

All states are taken in the variance-preserving unit, x / sqrt(1 + sigma^2), whatever unit the scheduler keeps, so that
models and samplers compare. A step is one call of the network: PNDM's first step and each of Heun's are two.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from stages.sampling.loop import Moment, Schedule
from stages.sampling.recording import Recording, Trace, spread_over
from stages.tensors import Latents, Time


@runtime_checkable
class WatchedSchedule(Schedule, Protocol):
    """A schedule that says what its states mean."""

    def growth(self, number: int) -> float:
        """Return how much larger the state after call `number` is than the variance-preserving one; -1: the start."""

    def alpha_bar(self, number: int) -> float:
        """Return alpha-bar of the state after call `number`, 1 where it is clean; -1: the start; NaN in a flow."""

    def clean(self, seen: Latents, output: Latents, t: Time) -> Latents:
        """Return the clean latents that the network's answer means."""


class Plane(NamedTuple):
    """A plane in the space of states: a point and two orthonormal directions."""

    origin: Float[Tensor, " n"]
    axes: Float[Tensor, "2 n"]

    def project(self, x: Latents) -> Float[Tensor, "b 2"]:
        """Return the coordinates of states."""
        if x[0].numel() != len(self.origin):
            raise ValueError(f"plane: expected states of {len(self.origin)} numbers, found {x[0].numel()}")
        return (x.flatten(1) - self.origin.to(x)) @ self.axes.to(x).mT


class Recorder:
    """The observer of one batch: one norm a step, and what else is asked for."""

    def __init__(
        self,
        recording: Recording,
        control: "States | None" = None,
        plane: Plane | None = None,
        rows: Sequence[int] = (),
    ) -> None:
        self.recording, self.control, self.plane, self.rows = recording, control, plane, list(rows)
        self.moved: list[Tensor] = []
        self.apart: list[Tensor] = []
        self.projected: list[Tensor] = []
        self.channels: list[Tensor] = []
        self.signal: list[Tensor] = []
        self.strips: list[Latents] = []
        """The clean predictions of `rows`, frame by frame."""

    def __call__(self, moment: Moment) -> None:
        """Keep what one step shows."""
        before, after = states(moment)
        if moment.number == 0:
            self._place(moment, 0, before)
        self.moved.append(distance(after, before))
        self._place(moment, moment.number + 1, after)
        if self.rows and moment.number in spread_over(len(moment.schedule.timesteps), self.recording.frames):
            self.strips.append(predicted(moment)[self.rows])

    def _place(self, moment: Moment, number: int, x: Latents) -> None:
        if self.control is not None:
            self.apart.append(distance(x, self.control.kept[number]))
        if self.plane is not None:
            self.projected.append(self.plane.project(x))
        if self.recording.channels:
            self.channels.append(x.mean((2, 3)) * x[0, 0].numel() ** 0.5)
            self.signal.append(x.new_full((len(x),), _watched(moment.schedule).alpha_bar(number - 1)))

    def traces(self) -> list[Trace]:
        """Return what was kept of each row, strips apart."""
        kept = {
            "step_distance": self.moved,
            "control_distance": self.apart,
            "projection": self.projected,
            "channel_z": self.channels,
            "signal": self.signal,
        }
        curves = {name: _by_row(values) for name, values in kept.items() if values}
        rows = range(len(self.moved[0]))
        return [Trace(**{name: curve[row] for name, curve in curves.items()}) for row in rows]


class States:
    """The observer that keeps every state: k + 1 times the memory of a batch."""

    def __init__(self) -> None:
        self.kept: list[Latents] = []

    def __call__(self, moment: Moment) -> None:
        """Keep the state after a step, and at the first step the one before it."""
        before, after = states(moment)
        self.kept += [before, after] if moment.number == 0 else [after]

    def rows(self) -> list[Float32[np.ndarray, "states n"]]:
        """Return each row's states."""
        return list(_by_row([x.flatten(1) for x in self.kept]))


def states(moment: Moment) -> tuple[Latents, Latents]:
    """Return the states before and after a step in the variance-preserving unit."""
    schedule = _watched(moment.schedule)
    return moment.x / schedule.growth(moment.number - 1), moment.after / schedule.growth(moment.number)


def predicted(moment: Moment) -> Latents:
    """Return the clean latents that the network predicts at a step."""
    mean = moment.output[:, : moment.seen.shape[1]]
    return _watched(moment.schedule).clean(moment.seen, mean, moment.t)


def distance(x: Latents, y: Latents) -> Float[Tensor, " b"]:
    """Return the root mean square of the difference, row by row: ||x - y|| / sqrt(D)."""
    return (x - y).flatten(1).norm(dim=1) / x[0].numel() ** 0.5


def fit_plane(trajectories: Iterable[Float[Tensor, "_ n"]]) -> Plane:
    """Return the plane in which the states of a few trajectories spread most: their first two principal components.

    The sign of each direction is such that the trajectories end, on average, on its positive side.
    """
    listed = list(trajectories)
    rows = torch.cat(listed)
    origin = rows.mean(0)
    _, _, axes = torch.linalg.svd(rows - origin, full_matrices=False)
    ends = (torch.stack([states[-1] for states in listed]).mean(0) - origin) @ axes[:2].mT
    return Plane(origin, axes[:2] * torch.where(ends < 0, -1.0, 1.0)[:, None])


def save_plane(plane: Plane, file: Path) -> None:
    """Write a plane as one array [3 n]: the origin, then the directions."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as out:
        np.save(out, torch.cat([plane.origin[None], plane.axes]).float().numpy(), allow_pickle=False)


def load_plane(file: Path) -> Plane:
    """Return the plane that `save_plane` wrote."""
    try:
        array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"recording: expected a plane written by save_plane in {file}, found none ({error})"
        ) from error
    if array.ndim != 2 or len(array) != 3:
        raise ValueError(f"recording: expected a plane of 3 rows in {file}, found an array of shape {array.shape}")
    return Plane(torch.from_numpy(array[0]), torch.from_numpy(array[1:]))


def _watched(schedule: Schedule) -> WatchedSchedule:
    if not isinstance(schedule, WatchedSchedule):
        raise TypeError(
            f"trajectory: expected a schedule that says what its states mean, found {type(schedule).__name__}"
        )
    return schedule


def _by_row(kept: list[Tensor]) -> np.ndarray:
    curves: np.ndarray = torch.stack(kept, dim=1).float().cpu().numpy()
    return curves
