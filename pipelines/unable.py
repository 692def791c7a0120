"""What a model cannot run, as far as its files say: refused before Ray starts."""

from pipelines.grid import Grid
from stages.models.feasible import noising, refusal
from stages.models.outline import has_second_stage
from stages.sampling.spec import parse


def refuse_unable(grid: Grid) -> None:
    """Raise ValueError for a sampler that the model of these rows cannot run."""
    known = noising(grid.model)
    for sampler in map(parse, grid.samplers):
        if known is not None and (reason := refusal(known, sampler)):
            raise ValueError(f"sampler: {reason}")
        if sampler.upsampling and not has_second_stage(grid.model):
            raise ValueError(f"sampler: {grid.model} has no second stage; leave upsampling out")
