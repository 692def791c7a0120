"""What a model cannot run, as far as its files say: refused before Ray starts."""

import numpy as np

from pipelines.grid import Grid
from stages import perturbations
from stages.models.feasible import noising, refusal
from stages.models.outline import has_second_stage, outline
from stages.randomness import rng
from stages.sampling import spec


def refuse_unable(grid: Grid) -> None:
    """Raise ValueError for a sampler that the model of these rows cannot run, or a perturbation that it cannot take."""
    refuse_samplers(grid)
    refuse_perturbations(grid)


def refuse_samplers(grid: Grid) -> None:
    """Raise ValueError for a sampler that the model of these rows cannot run."""
    known = noising(grid.model)
    for sampler in map(spec.parse, grid.samplers):
        if known is not None and (reason := refusal(known, sampler)):
            raise ValueError(f"sampler: {reason}")
        if sampler.upsampling and not has_second_stage(grid.model):
            raise ValueError(f"sampler: {grid.model} has no second stage; leave upsampling out")


def refuse_perturbations(grid: Grid) -> None:
    """Raise ValueError for a perturbation of a latent of another shape, such as of a channel that pixels lack.

    The strongest of each family is tried on noise of the model's shape, where its files tell it.
    """
    families = {
        p.family: p for p in sorted(map(perturbations.parse, grid.perturbations), key=lambda p: abs(p.strength))
    }
    for size_px in {spec.parse(sampler).size_px for sampler in grid.samplers}:
        if (shape := outline(grid.model).latent_shape(size_px)) is None:
            continue
        noise = rng(0, "latent").standard_normal(shape, dtype=np.float32)
        for perturbation in families.values():
            try:
                perturbation(noise, rng(0, "perturbation"))
            except ValueError as error:
                raise ValueError(f"perturbations: {grid.model}: {error}") from None
