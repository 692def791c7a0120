"""Analytic models as folders: `analytic.json` names the kind, safetensors hold the parameters, a scheduler the rest."""

import json
from pathlib import Path

import diffusers
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from stages.models.analytic.base import AnalyticModel
from stages.models.analytic.empirical import Empirical
from stages.models.analytic.gaussian import Gaussian
from stages.models.analytic.molrg import MoLRG
from stages.models.schedules import Scheduler

ANALYTIC = "analytic.json"
WEIGHTS = "model.safetensors"
KINDS: dict[str, type[AnalyticModel]] = {model.kind: model for model in (Gaussian, MoLRG, Empirical)}
PRECISIONS = {"auto": torch.float64, "float32": torch.float32}
SCHEDULERS = ("EDMEulerScheduler", "DDIMScheduler")


def save(model: AnalyticModel, folder: str | Path, scheduler: Scheduler = None) -> None:
    """Write a model as a folder that `load_generator` reads; its content is its fingerprint.

    `scheduler` is of diffusers and says how the model is asked: EDMEulerScheduler (the default, EDM's noise levels) or
    DDIMScheduler (a variance-preserving noise schedule).
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    scheduler = diffusers.EDMEulerScheduler() if scheduler is None else scheduler
    scheduler.save_pretrained(path / "scheduler")
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path / WEIGHTS)
    (path / ANALYTIC).write_text(json.dumps({"kind": model.kind}) + "\n")


def load(folder: Path, dtype: str = "auto") -> tuple[AnalyticModel, Scheduler]:
    """Return the model and the scheduler of a folder.

    Training sets are compared in double precision, or in single where `dtype` asks for it; the rest is always double.
    """
    kind = kind_of(folder)
    if kind not in KINDS or dtype not in PRECISIONS:
        raise ValueError(f"{folder}: expected a kind of {', '.join(KINDS)} in auto or float32, found {kind} in {dtype}")
    precision = {"dtype": PRECISIONS[dtype]} if kind == Empirical.kind else {}
    return KINDS[kind](**load_file(folder / WEIGHTS), **precision), load_scheduler(folder)


def load_part(folder: Path, start: int, stop: int, dtype: str = "auto") -> Empirical:
    """Return the training pictures `start` to `stop` of an empirical model; reads no other."""
    with safe_open(folder / WEIGHTS, framework="pt") as tensors:
        return Empirical(tensors.get_slice("points")[start:stop], PRECISIONS[dtype])


def size_of(folder: Path) -> tuple[int, int, int, int]:
    """Return the number of training pictures of an empirical model, and their channels, height and width."""
    with safe_open(folder / WEIGHTS, framework="pt") as tensors:
        count, channels, height, width = tensors.get_slice("points").get_shape()
    return count, channels, height, width


def kind_of(folder: Path) -> str | None:
    """Return the kind of the analytic model in a folder; None where it holds none."""
    path = folder / ANALYTIC
    return str(json.loads(path.read_text())["kind"]) if path.is_file() else None


def load_scheduler(folder: Path) -> Scheduler:
    """Return the scheduler that says how the model is asked."""
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    if (name := config["_class_name"]) not in SCHEDULERS:
        raise ValueError(f"{folder}: expected a scheduler of {', '.join(SCHEDULERS)}, found {name}")
    return getattr(diffusers, name).from_config(config)
