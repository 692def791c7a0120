"""One training loop for every embedded model: seeded by step, resumed exactly, averaged, decayed by steps."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from pydantic import Field
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from stages.base import Spec
from stages.randomness import rng
from tuning.training.group import ALONE, Group


class LoopSpec(Spec):
    """How long and how fast to train. The learning rate warms up, stays, and decays to zero at the end."""

    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    warmup_steps: int = Field(default=50, ge=1)
    decay_steps: int = Field(default=1, ge=1, description="Length of the cosine to zero at the end.")
    weight_decay: float = Field(default=0.01, ge=0)
    average: float = Field(default=0.995, ge=0, lt=1, description="Decay of the running average of the weights.")
    checkpoint_steps: int = Field(default=200, ge=1, description="Steps between two checkpoints.")
    seed: int = 0

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, the first being 0."""
        left = min(1.0, (self.steps - step) / self.decay_steps)
        return self.learning_rate * min(1.0, (step + 1) / self.warmup_steps) * (1 - math.cos(math.pi * left)) / 2


class Diverged(ValueError):  # noqa: N818  what the training did, as a reader says it
    """A training whose loss or gradient is no longer finite."""


S = TypeVar("S", bound=Spec)
M = TypeVar("M", bound=nn.Module)


class Recipe(ABC, Generic[S, M]):
    """What is trained, and what one step costs.

    A step draws all that is random from its own number, so that the loop's state is weights and optimiser, and `state`.
    """

    spec: S
    module: M
    """Holds everything that is trained."""
    group: Group = ALONE
    """The processes that share every minibatch."""

    @abstractmethod
    def loss(self, step: int) -> Tensor:
        """Return the loss of one step."""

    def backward(self, step: int) -> float:
        """Add the gradients of one step and return its loss."""
        loss = self.loss(step)
        torch.autograd.backward(loss)
        return loss.item()

    def updates(self, step: int) -> Iterator[float]:
        """Yield the loss of each parameter update of one step, its gradients added; the loop updates in between."""
        yield self.backward(step)

    def figures(self) -> Mapping[str, float]:
        """Return what the steps since the last call showed besides their losses."""
        return {}

    def state(self) -> Mapping[str, Tensor]:
        """Return what later steps depend on besides weights and optimiser."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""

    @abstractmethod
    def save(self, module: M, folder: Path) -> None:
        """Write the averaged `module` as the files that ship."""


class Loop(Generic[S, M]):
    """The state of one training run: `step` counts minibatches, `updates` what the optimiser did."""

    def __init__(self, recipe: Recipe[S, M], spec: LoopSpec, checkpoint: Path) -> None:
        self.recipe, self.spec, self.checkpoint = recipe, spec, checkpoint
        self.optimiser = torch.optim.AdamW(
            recipe.module.parameters(),
            lr=spec.learning_rate,
            weight_decay=spec.weight_decay,
            betas=(0.9, 0.99),
            fused=True,
        )
        self.average = deepcopy(recipe.module).requires_grad_(requires_grad=False)
        self.step, self.updates, self.cpu_seconds = 0, 0, 0.0
        if checkpoint.exists():
            self._restore()

    def run(self, until: int | None = None) -> list[float]:
        """Train to step `until` (default: all steps) and return the losses of the steps taken."""
        last, losses = min(until or self.spec.steps, self.spec.steps), []
        with _progress(shown=self.recipe.group.leads) as progress:
            started, before = time.process_time(), self.cpu_seconds
            task = progress.add_task(self.checkpoint.stem, total=last, completed=self.step, loss=math.nan)
            while self.step < last:
                losses.append(self._advance())
                self.cpu_seconds = before + time.process_time() - started
                progress.update(task, completed=self.step, loss=losses[-1])
                if self.recipe.group.leads and (self.step % self.spec.checkpoint_steps == 0 or self.step == last):
                    self._store()
        return losses

    def _advance(self) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = self.spec.rate(self.step)
        losses = []
        for loss in self.recipe.updates(self.step):
            self._update(loss)
            losses.append(loss)
        self.step += 1
        return sum(losses) / len(losses)

    def _update(self, loss: float) -> None:
        self.recipe.group.add(x.grad for x in self.recipe.module.parameters() if x.grad is not None)
        norm = nn.utils.clip_grad_norm_(self.recipe.module.parameters(), 1.0).item()
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise Diverged(
                f"{self.checkpoint.stem}, step {self.step + 1}: the loss and its gradient must be finite, but are "
                f"{loss} and {norm}; the last checkpoint is kept: lower the learning rate, or look at the pictures"
            )
        self.optimiser.step()
        self.updates += 1
        self._update_average()
        self.optimiser.zero_grad(set_to_none=True)

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.spec.average, (1 + self.updates) / (10 + self.updates))  # short at first, to forget the start
        averages: list[Tensor] = list(self.average.parameters())
        values: list[Tensor] = list(self.recipe.module.parameters())
        torch._foreach_lerp_(averages, values, 1 - decay)
        for mine, buffer in zip(self.average.buffers(), self.recipe.module.buffers(), strict=True):
            mine.copy_(buffer)

    def _store(self) -> None:
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "spec": self.recipe.spec.canonical(),
            "step": self.step,
            "updates": self.updates,
            "cpu_seconds": self.cpu_seconds,
            "module": self.recipe.module.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "recipe": dict(self.recipe.state()),
        }
        partial = self.checkpoint.with_suffix(".partial")
        try:
            torch.save(state, partial)
        except (OSError, RuntimeError) as error:  # PyTorch's writer has no error of its own for a full disk
            partial.unlink(missing_ok=True)
            raise ValueError(
                f"{self.checkpoint}: expected room for a checkpoint at step {self.step}, found: {error}; "
                "the checkpoint before is still valid: make room and start again"
            ) from error
        partial.replace(self.checkpoint)

    def _restore(self) -> None:
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        if state["spec"] != (wanted := self.recipe.spec.canonical()):
            raise ValueError(
                f"{self.checkpoint} was trained with {state['spec']}, but {wanted} is asked for: "
                "delete the file to start again"
            )
        self._load(state)
        self.cpu_seconds = state["cpu_seconds"]

    def branch_off(self, trunk: Path) -> None:
        """Go on from the checkpoint of another training, whose network may lack the last outputs: they start at 0."""
        state = torch.load(trunk, map_location="cpu", weights_only=True)
        own = self.recipe.module.state_dict()
        for of in ("module", "average"):
            state[of] = {name: grown(x, own[name]) for name, x in state[of].items()}
        parameters = list(self.recipe.module.parameters())
        for number, moments in state["optimiser"]["state"].items():
            for name in ("exp_avg", "exp_avg_sq"):
                moments[name] = grown(moments[name], parameters[number])
        self._load(state)

    def _load(self, state: dict[str, Any]) -> None:
        self.recipe.module.load_state_dict(state["module"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.recipe.restore(state.get("recipe", {}))
        self.step = state["step"]
        self.updates = state.get("updates", self.step)  # older checkpoints took one each


def grown(x: Tensor, like: Tensor) -> Tensor:
    """Return a tensor of the shape and memory layout of `like`: `x` at the start of the first axis, then 0."""
    if x.shape == like.shape:
        return x
    larger = torch.zeros_like(like)
    larger[: len(x)] = x
    return larger


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """Return PyTorch's generator of `(seed, purpose)`."""
    return torch.Generator().manual_seed(int(rng(seed, *purpose).integers(2**63)))


def _progress(*, shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeRemainingColumn(),
        refresh_per_second=0.5,
        disable=not shown,
    )
