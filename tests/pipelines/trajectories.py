"""Questions about the trajectories of a Gaussian model, drawn in this process."""

import math
from pathlib import Path

import diffusers
import numpy as np
import torch

from pipelines.config import load
from pipelines.pipeline import Pipeline
from pipelines.trajectory import Trajectory, TrajectorySpec
from pipelines.trajectory_pilot import pipeline as pilot_pipeline
from stages.base import Batch
from stages.models.analytic import Gaussian, save

SHAPE = (3, 4, 4)
STEPS = 6
VP = diffusers.DDIMScheduler(clip_sample=False, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
SHIFTS = "perturbations=[{kind: uniform_mean_shift, shift: [0.4, 0.8]}, {kind: random_direction, rms: [0.4, 0.8]}]"


def covariance() -> torch.Tensor:
    """Return how pictures vary: less from place to place than from channel mean to channel mean, which go together."""
    channels = torch.tensor([[0.5, 0.3, 0.1], [0.3, 0.4, 0.2], [0.1, 0.2, 0.3]], dtype=torch.float64)
    place = torch.eye(SHAPE[1] * SHAPE[2], dtype=torch.float64)
    return torch.kron(channels, torch.ones_like(place)) + 0.09 * torch.eye(math.prod(SHAPE), dtype=torch.float64)


def gaussian(folder: Path) -> str:
    """Write the model, asked in the way of a variance-preserving schedule."""
    if not folder.is_dir():
        save(Gaussian(torch.linspace(-0.4, 0.4, math.prod(SHAPE)).view(SHAPE), covariance()), folder, VP)
    return str(folder)


def trajectory(folder: Path, *overrides: str) -> Trajectory:
    """Return a question about DDIM and ancestral sampling from the Gaussian."""
    model = gaussian(folder / "gaussian")
    arms = [f"{{name: {n}, model: '{model}', sampler: {{scheduler: {n}, steps: {STEPS}, guidance: 1}}}}" for n in NAMES]
    given = [
        f"run={{output: '{folder / 'runs'}', batch_size: 16}}",
        f"arms=[{', '.join(arms)}]",
        "prompts={kind: none}",
        "seeds.count=12",
        SHIFTS,
        "pilot={prompts: 1, seeds: 2, frames: 3}",
    ]
    return Trajectory(load(TrajectorySpec, "trajectory_demo", [*given, *overrides]))


NAMES = ("ddim", "ddpm")


def apply(pipeline: Pipeline, batch: Batch) -> Batch:
    """Return a batch after every step of a pipeline."""
    pipeline.check(batch)
    for step in pipeline.steps:
        batch = step.stage(step.spec)(batch)
    return batch


def draw(question: Trajectory) -> list[Batch]:
    """Fill the store as a run does, and return what was drawn of each arm."""
    drawn = []
    for draw in question.draws:
        if pilot := question.pilots.get(draw.grid.model):
            apply(pilot_pipeline(pilot, draw), pilot.rows)
        drawn += [apply(draw.generation, grid.rows(np.arange(len(grid)))) for grid in draw.grids]
    return drawn
