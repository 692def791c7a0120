"""A training that is judged on its way: what its averaged weights draw at every checkpoint, in an extractor's eyes."""

import fcntl
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from safetensors.numpy import save_file

from stages.features import Features, FeaturesSpec
from stages.metrics.quality.moments import Moments
from stages.models.loading import load_generator
from tuning.search import Metrics
from tuning.training.diffusion import fid
from tuning.training.diffusion.judging import DIVERGED, Judged
from tuning.training.drawn import missing, pictures_of
from tuning.training.pixels import PixelRecipe
from tuning.training.trial import placed, trained
from tuning.training.zoo.loop import Diverged, Loop

BATCH = 64


def judged(task: Judged) -> Iterator[Metrics]:
    """Train the model of a task and judge it at the end."""
    with alone(task.folder):
        last: Metrics = {}
        for last in trained(task):
            yield last
        yield {**last, **at_the_end(task)}


def tried(task: Judged) -> Iterator[Metrics]:
    """Do the same as a trial of a search: it yields `score`, the higher the better, at every checkpoint.

    One that diverges ends there, infinitely bad.
    """
    with alone(task.folder):
        last: Metrics = {}
        try:
            for last in trained(task, partial(look, task)):
                if "score" in last:
                    yield last
        except Diverged:
            (task.folder / DIVERGED).touch()
            yield {"pictures": float(task.worth), "score": -math.inf}
            return
        yield {**last, **at_the_end(task)}


def at_the_end(task: Judged) -> Metrics:
    """Judge the trained model, unless that was done."""
    if not task.measured.is_file():
        draw(task, task.folder / "model", task.measured)
    return scores(task, task.model.minibatches)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other trial works in a folder: two of equal settings would write the same files."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def look(task: Judged, recipe: "PixelRecipe[Any]", loop: "Loop[Any, Any]") -> Metrics:
    """Judge a training at a checkpoint; nothing at its end, where the model is judged that is kept."""
    if loop.step == loop.spec.steps:
        return {}
    if not task.at(loop.step).is_file():
        folder = task.folder / "on-its-way"
        shutil.rmtree(folder, ignore_errors=True)
        recipe.save(deepcopy(loop.average).cpu(), folder)
        draw(task, folder, task.at(loop.step))
        shutil.rmtree(folder)
    return scores(task, loop.step)


def scores(task: Judged, step: int) -> Metrics:
    """Return progress, cost and distances after so many minibatches."""
    drawn = fid.read(task, step)
    mean = drawn.value
    by_cell = {f"FID {name}": drawn.fid(name).value for name in drawn.cells}
    return {**task.counts(step), **by_cell, "FID": mean, "score": -math.inf if math.isnan(mean) else -mean}


def draw(task: Judged, model: Path, target: Path) -> None:
    """Draw from a model's folder and write the features [n d] of every cell; real pictures are measured if need be."""
    extractor = opened(task)
    if not task.real.is_file():
        write_real(task, extractor)
    generator = load_generator(placed(str(model), task.device))
    names = list(getattr(generator, "classes", {})) or [""]
    first, judging = task.judging.first_seed, task.judging
    rows = [(first + number, names[number % len(names)]) for number in range(judging.noises)]
    found = {}
    for name, sampler in judging.cells(task.scale):
        pictures, finite = pictures_of(generator, rows, sampler)
        found[name] = missing(extractor.vectors(list(pictures)).features, finite)
    _write(found, target)


def write_real(task: Judged, extractor: Features) -> None:
    """Write the statistics of the real pictures."""
    data = task.model.data
    rows = data.rows() if task.judging.reference == "training" else data.unseen(data.source.size())
    moments = Moments.of(extractor.vectors(list(data.source.load(rows).images)).features)
    _write({"n": np.array([moments.n]), "total": moments.total, "outer": moments.outer}, task.real)


def opened(task: Judged) -> Features:
    """Return the extractor on the task's device."""
    choice = task.judging.extractor
    spec = {"model": choice.model, "resize": choice.resize, "device": task.device, "batch": BATCH, "dtype": "float32"}
    return Features(FeaturesSpec.model_validate(spec))


def dimension(task: Judged) -> int:
    """Return the number of features."""
    found: Float32[np.ndarray, "n d"] = opened(task).vectors([np.zeros((64, 64, 3), np.uint8)]).features
    return found.shape[1]


def _write(arrays: dict[str, np.ndarray], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}")
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, partial)
    partial.replace(target)
