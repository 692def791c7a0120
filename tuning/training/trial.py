"""One trial: a model trained on one set of pictures, and what it draws, measured against that set.

Everything lies in a folder named by the model's settings, so that nothing is trained or drawn twice: a search that is
resumed, a larger search that holds the same model, and a trial that was killed all go on from there.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import Field, model_validator
from typing_extensions import override

from stages.base import Spec, digest
from stages.models.descriptors.spec import DescriptorSpec
from stages.models.source import fingerprint
from stages.models.spec import ModelSpec
from stages.sampling import SamplerSpec
from tuning.search import Metrics, Point
from tuning.training.diffusion.settings import DiffusionSpec
from tuning.training.settings import EdmSpec

if TYPE_CHECKING:
    from tuning.training.group import Group
    from tuning.training.pictures import Pictures
    from tuning.training.pixels import PixelRecipe
    from tuning.training.zoo.loop import Loop

Look: TypeAlias = Callable[["PixelRecipe[Any]", "Loop[Any, Any]"], Metrics]
"""A training at a checkpoint -> what is told of it besides."""

UNCONDITIONAL = SamplerSpec(scheduler="heun", steps=18, guidance=1.0)


class Drawing(Spec):
    """What is drawn from every model, and how two pictures are compared."""

    noises: int = Field(10_000, ge=2, description="Pictures drawn from each model; the same noises for all.")
    first_seed: int = Field(100_000, ge=0, description="Seed of the first noise.")
    sampler: SamplerSpec = UNCONDITIONAL
    descriptor: str = Field(description="sscd:NAME[@SHA256], zoo:descriptor, a local folder, or pixels:SIDE.")
    resize: Literal["own", "short", "square"] = Field("own", description="How pictures are brought to its size.")
    threshold: float = Field(description="Alike means a cosine above this, or for pixels:SIDE a distance below it.")
    features: str | None = Field("zoo:classifier", description="Classifier whose features FID compares; null: no FID.")

    def weights(self) -> tuple[str, ...]:
        """Return the fingerprints of descriptor and classifier; raises `ValueError` where there is no such model."""
        judge = () if self.features is None else (fingerprint(self.features, "timm"),)
        return fingerprint(self.descriptor, "descriptor"), *judge

    def identity(self) -> str:
        """Return 8 hex digits that name what is measured; the threshold is applied to it later."""
        return digest([self.model_dump(mode="json", exclude={"threshold"}), *self.weights()])[:8]

    def described(self, device: str) -> DescriptorSpec:
        """Return the descriptor on a device."""
        return DescriptorSpec.model_validate({"model": self.descriptor, "resize": self.resize, "device": device})


class Training(Spec):
    """A model to train, and where."""

    model: Annotated[EdmSpec | DiffusionSpec, Field(discriminator="kind")]
    output: str
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = Field(1, ge=1)
    workers: int = Field(1, ge=1, description="Processes that share every minibatch, on a device each.")

    @model_validator(mode="after")
    def _equal_shares(self) -> "Training":
        parts = self.workers * (self.model.accumulate if isinstance(self.model, DiffusionSpec) else 1)
        if self.workers > 1 and (isinstance(self.model, EdmSpec) or self.model.budget.batch % parts):
            raise ValueError(
                f"workers: expected 1, or for a model on a noise schedule a number of parts that divides "
                f"budget.batch={self.model.budget.batch}, found {self.workers} workers of {parts // self.workers} parts"
            )
        return self

    @property
    def folder(self) -> Path:
        """Return where everything of this model lies."""
        return Path(self.output) / "trained" / self.model.fingerprint()

    @property
    def pictures(self) -> int:
        """The pictures that its training sees."""
        return self.model.budget.pictures


class Task(Training):
    """A model to train, or the optimal denoiser of its training set, and what to draw from it."""

    optimal: bool = Field(False, description="Draw from the exact denoiser of the training set instead.")
    drawing: Drawing

    @property
    @override
    def folder(self) -> Path:
        if not self.optimal:
            return super().folder
        return Path(self.output) / "trained" / f"optimal-{self.model.data.fingerprint()}"

    @property
    def measured(self) -> Path:
        """Return the file of what it drew."""
        return self.folder / f"drawn-{self.drawing.identity()}.safetensors"


def run(point: Point) -> Iterator[Metrics]:
    """Train, draw and measure the task of a point, yielding how far it is."""
    import torch

    from tuning.training.drawn import draw

    task = Task.model_validate(point["task"])
    torch.set_num_threads(task.threads)
    yield from trained(task)
    if not task.measured.is_file():
        draw(task)
    yield {"pictures": float(task.model.budget.pictures)}


def trained(task: Training, look: Look | None = None) -> Iterator[Metrics]:
    """Train the model of a task unless it is there; at the end it lies in `model` in the task's folder."""
    pictures = task.model.data.load()
    record(task, pictures)
    final, partial = task.folder / "model", task.folder / "model.partial"
    if final.is_dir():
        return
    shutil.rmtree(partial, ignore_errors=True)
    if isinstance(task, Task) and task.optimal:
        memorize(pictures, partial)
    else:
        yield from steps(task, pictures, partial, look)
    partial.rename(final)
    (task.folder / "checkpoint.pt").unlink(missing_ok=True)


def steps(task: Training, pictures: "Pictures", target: Path, look: Look | None = None) -> Iterator[Metrics]:
    """Train, from the last checkpoint if there is one, and write the averaged model to `target`."""
    from tuning.training.group import leading

    with leading(task.workers, task.device, help_to_train, task) as group:
        yield from shared_steps(task, pictures, group, target, look)


def help_to_train(task: Training, group: "Group") -> None:
    """Take a share of every minibatch of a training that another process leads."""
    import torch

    torch.set_num_threads(task.threads)
    for _ in shared_steps(task, task.model.data.load(), group):
        pass


def shared_steps(
    task: Training, pictures: "Pictures", group: "Group", target: Path | None = None, look: Look | None = None
) -> Iterator[Metrics]:
    """Train as one of a group; the one that leads has a `target`."""
    from tuning.training.zoo.loop import Loop

    made = recipe(task.model, group.device(task.device), pictures, group)
    loop = Loop(made, task.model.loop, task.folder / "checkpoint.pt")
    if look and loop.step:  # a kill may have come between the checkpoint and the look at it
        yield look(made, loop)
    while loop.step < loop.spec.steps:
        losses = loop.run(loop.step + loop.spec.checkpoint_steps)
        yield {
            "pictures": float(loop.step * loop.spec.batch),
            "updates": float(loop.updates),
            "loss": sum(losses) / len(losses),
            "cpu_seconds": loop.cpu_seconds,
            **made.figures(),
            **(look(made, loop) if look else {}),
        }
    if target:
        made.save(loop.average.cpu(), target)


def recipe(model: EdmSpec | DiffusionSpec, device: str, pictures: "Pictures", group: "Group") -> "PixelRecipe[Any]":
    """Return how a model is trained."""
    from tuning.training.diffusion.recipe import DiffusionRecipe
    from tuning.training.edm import EdmRecipe

    if isinstance(model, EdmSpec):
        return EdmRecipe(model, device, pictures, group)
    return DiffusionRecipe(model, device, pictures, group)


def memorize(pictures: "Pictures", target: Path) -> None:
    """Write the optimal denoiser of the pictures as a model like any other."""
    import torch

    from stages.models.analytic import Empirical, save

    save(Empirical(torch.from_numpy(pictures.images).permute(0, 3, 1, 2).contiguous()), target)


def record(task: Training, pictures: "Pictures") -> None:
    """Note what the model is trained on and starts from; refuse to go on where that has changed meanwhile."""
    start = task.model.network.model if task.model.network.kind == "pretrained" else None
    noted = {
        "settings": task.model.model_dump(mode="json"),
        "pictures": pictures.digest(),
        "start": start and fingerprint(start),
    }
    file = task.folder / "training.json"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(noted, indent=2) + "\n")
    elif json.loads(file.read_text()) != noted:
        raise ValueError(
            f"{task.folder}: expected the pictures and the first weights that it was trained with, found others; "
            "delete the folder to train again"
        )


def placed(model: str, device: str, batch: int = 256) -> ModelSpec:
    """Return where a trial's models run: in single precision, so that devices differ by rounding only."""
    return ModelSpec.model_validate({"model": model, "device": device, "batch": batch, "dtype": "float32"})
