"""The question: what does adversarial distillation change that as much plain distillation does not.

After "Better Adversarial Robustness" (arXiv:2502.17099), Sec. 4.2: one teacher has plain students, of as many
minibatches and of as many updates as those under attack, two under attack, and for each of these one that makes the
same updates on the same minibatches without the attack. All see the same latents, noise, time steps and guidance.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import override

from pipelines.quality import Quality
from stages.base import Spec
from stages.models.source import fingerprint, folder
from tuning.search import Metrics, Point, Trainable
from tuning.study import StudySpec
from tuning.training.consistency.settings import Attack, ConsistencySpec
from tuning.training.judged import TableSpec, cpus

if TYPE_CHECKING:
    from pipelines.report import Page

Orientation = Literal["target", "both"]
ORIENTATIONS: tuple[Orientation, ...] = ("target", "both")


class Distilled(Spec):
    """A student to train, and where."""

    student: ConsistencySpec
    weights: str = Field(description="Fingerprint of the teacher.")
    output: str
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = Field(1, ge=1)

    @property
    def folder(self) -> Path:
        """Return where everything of this student lies."""
        told = self.model_copy(update={"output": "", "device": "cpu", "threads": 1})
        return Path(self.output) / "trained" / told.fingerprint()

    @property
    def measured(self) -> Path:
        """Return the file that is there once it is trained."""
        return self.folder / "model" / "model_index.json"

    @property
    def pictures(self) -> int:
        """Return how many latents it sees."""
        return self.student.loop.steps * self.student.loop.batch


def run(point: Point) -> Iterator[Metrics]:
    """Train the student of a point, yielding how far it is."""
    import torch

    task = Distilled.model_validate(point["task"])
    torch.set_num_threads(task.threads)
    if not task.measured.is_file():
        yield from distilled(task)
    yield {"pictures": float(task.pictures)}


def distilled(task: Distilled) -> Iterator[Metrics]:
    """Train a student, from the last checkpoint if there is one; at the end it lies in `model` in its folder."""
    from tuning.training.consistency.recipe import ConsistencyRecipe
    from tuning.training.zoo.loop import Loop

    recipe = ConsistencyRecipe(task.student, teacher_of(task.student), Path(task.output) / "trained", task.device)
    task.folder.mkdir(parents=True, exist_ok=True)
    loop = Loop(recipe, task.student.loop, task.folder / "checkpoint.pt")
    while loop.step < loop.spec.steps:
        losses = loop.run(loop.step + loop.spec.checkpoint_steps)
        seen, loss = loop.step * loop.spec.batch, sum(losses) / len(losses)
        yield {"pictures": float(seen), "updates": float(loop.updates), "loss": loss, "cpu_seconds": loop.cpu_seconds}
    partial = task.folder / "model.partial"
    shutil.rmtree(partial, ignore_errors=True)
    recipe.save(loop.average.cpu(), partial)
    partial.rename(task.folder / "model")
    loop.checkpoint.unlink(missing_ok=True)


def teacher_of(student: ConsistencySpec) -> Path:
    """Return the folder of a student's teacher."""
    found = folder(f"zoo:{student.teacher}")
    if found is None:
        raise ValueError(f"student.teacher: expected an embedded model, found {student.teacher!r}")
    return found


class DistillationSpec(StudySpec):
    """A teacher, and the ways in which its students learn."""

    student: ConsistencySpec = Field(description="The teacher, and how a plain student learns.")
    attack: Attack = Field(Attack(passes=2), description="Of the students under attack; both orientations are tried.")
    quality: TableSpec = Field(description="How what they draw is judged.")

    asks: ClassVar = "What does adversarial distillation change that as much plain distillation does not?"

    @model_validator(mode="after")
    def _plain_start(self) -> "DistillationSpec":
        if self.student.perturbation:
            raise ValueError("student.perturbation: expected null, found one; set attack instead")
        return self

    def students(self) -> dict[str, ConsistencySpec]:
        """Return every student by its name."""
        more, plain = self.attack.updates, self.student
        longer = {} if more == 1 else {f"plain, {more} x": stretched(plain, more)}
        without = {self.unattacked(way): self._under(way, step=0.0) for way in ORIENTATIONS}
        attacks = {f"adversarial, {way}": self._under(way) for way in ORIENTATIONS}
        return {"plain": plain, **longer} | without | {"plain": plain} | attacks

    def unattacked(self, way: Orientation) -> str:
        """Return the name of the student that differs from one under attack in the attack alone."""
        if way == "target" and self.attack.updates == 1:
            return "plain"
        return f"unattacked, {way}" + (f", {self.attack.updates} x" if self.attack.updates > 1 else "")

    def controls(self) -> tuple[tuple[str, str], ...]:
        """Return which student is compared with which: those under attack with the closest, then with plain ones."""
        plain = [name for name in self.students() if name.startswith("plain")]
        return tuple(
            (f"adversarial, {way}", other)
            for way in ORIENTATIONS
            for other in dict.fromkeys((self.unattacked(way), *plain))
        )

    def headline(self) -> tuple[str, str]:
        """Return the comparison that the verdict rests on: with the same updates without the attack."""
        return "adversarial, target", self.unattacked("target")

    def plain(self) -> tuple[str, str]:
        """Return the comparison with as many plain updates."""
        return [pair for pair in self.controls() if pair[0] == "adversarial, target"][-1]

    def tasks(self) -> dict[str, Distilled]:
        """Return the trial of every student."""
        weights = fingerprint(f"zoo:{self.student.teacher}")
        where = {"weights": weights, "output": self.run.output, **self.run.placed()}
        return {name: Distilled(student=student, **where) for name, student in self.students().items()}

    def _under(self, way: Orientation, **changes: float) -> ConsistencySpec:
        attack = self.attack.model_copy(update={"orientation": way, **changes})
        return self.student.model_copy(update={"perturbation": attack})

    @property
    @override
    def trainable(self) -> Trainable:
        return run

    @override
    def phases(self) -> Iterator[dict[str, Distilled]]:
        yield self.tasks()

    @property
    @override
    def room(self) -> float:
        return cpus(self.quality.run)

    @override
    def questions(self) -> Iterator[Quality]:
        yield self.table()

    def table(self) -> Quality:
        """Return the question of how good what they draw is."""
        folders = {name: task.folder / "model" for name, task in self.tasks().items()}
        return self.quality.of(f"{self.name}-quality", folders, self.run)

    @override
    def check(self) -> None:
        teacher_of(self.student)
        self.quality.check()

    @override
    def plan(self) -> Iterator[str]:
        tasks = self.tasks()
        yield f"students   {len(tasks)}; {sum(task.measured.is_file() for task in tasks.values())} are done"
        width = max(map(len, tasks)) + 1
        for name, student in self.students().items():
            passes = student.perturbation.passes if student.perturbation else 1
            updates = student.perturbation.updates if student.perturbation else 1
            steps = student.loop.steps
            yield f"{name:<{width}}{steps:,} minibatches, {steps * updates:,} updates, {steps * passes:,} passes"
        cells = len(tasks) * len(self.quality.samplers) * len(self.quality.nfe)
        yield f"drawing    {cells} cells of a table: samplers x calls of every student"
        yield f"trials     {self.run.trials.actors} at a time, {self.run.device}"

    @override
    def page(self) -> "Page":
        from tuning.training.consistency.page import page

        return page(self)


def stretched(student: ConsistencySpec, times: int) -> ConsistencySpec:
    """Return a student of so many times the updates, whose learning rates rise and fall alike."""
    longer = {
        name: getattr(student.loop, name) * times
        for name in ("steps", "warmup_steps", "decay_steps", "checkpoint_steps")
    }
    return student.model_copy(update={"loop": student.loop.model_copy(update=longer)})
