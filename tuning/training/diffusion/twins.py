"""The question: what does adversarial training change that as much plain training does not.

After "Better Adversarial Robustness" (arXiv:2502.17099): one model goes on plainly, with noisier inputs, and under
attack. A minibatch under attack costs K passes and K updates, so the others go on once for as many minibatches and once
for as many updates. One more makes the K updates on each minibatch without the attack: the control that tells attack
from repetition. All see the same pictures, noise and time steps in the same order.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import override

from pipelines.factorial import Factorial
from pipelines.quality import Quality
from pipelines.question import AnyQuestion
from stages.base import Spec
from stages.sampling import SamplerSpec
from tuning.sage.latents import trial as latent
from tuning.sage.latents.study import LatentStudySpec
from tuning.search import Metrics, Point, Trainable
from tuning.study import StudySpec, Task
from tuning.training.diffusion.perturbations import Adversarial, AnyPerturbation, InputNoise, Unperturbed
from tuning.training.diffusion.settings import DiffusionSpec
from tuning.training.judged import ShakenSpec, TableSpec, cpus
from tuning.training.networks import Pretrained
from tuning.training.searched import SearchedSpec
from tuning.training.settings import Budget
from tuning.training.trial import Training, trained

if TYPE_CHECKING:
    from pipelines.report import Page

WALKS = ("ddim", "ddpm")
Gradient = Literal["full", "detached"]
GRADIENTS: tuple[Gradient, ...] = ("full", "detached")


class Probe(Spec):
    """How the error of a trained model is measured, on pictures that no model was trained on."""

    pictures: int = Field(512, ge=2)
    levels: int = Field(10, ge=1, description="Time steps, the middles of as many equal stretches of the schedule.")
    attack: Adversarial = Field(Adversarial(), description="Length and norm of the attack; both gradients are tried.")
    seed: int = Field(0, ge=0, description="Seed of the noise, the same for every model.")
    walk: SamplerSpec = Field(
        SamplerSpec(scheduler="ddim", steps=10, guidance=1.0),
        description="The sampler whose states are compared with the noisy pictures of training.",
    )

    @model_validator(mode="after")
    def _states_are_noisy_pictures(self) -> "Probe":
        if self.walk.scheduler not in WALKS:
            raise ValueError(
                f"probe.walk: expected a scheduler whose states are noisy pictures, {' or '.join(WALKS)}, "
                f"found {self.walk.scheduler!r}"
            )
        return self


class Probed(Training):
    """A model to train and to measure."""

    model: DiffusionSpec
    probe: Probe

    @property
    def measured(self) -> Path:
        """Return the file of its errors."""
        return self.folder / f"probed-{self.probe.fingerprint()[:8]}.safetensors"

    @property
    def walked(self) -> Path:
        """Return the file of its exposure bias."""
        return self.measured.with_stem(self.measured.stem.replace("probed", "walked"))


def run(point: Point) -> Iterator[Metrics]:
    """Train and measure the task of a point, yielding how far it is."""
    import torch

    from tuning.training.diffusion.exposure import walk
    from tuning.training.diffusion.probe import probe

    if is_search(point):
        yield from latent.run(point)
        return
    task = Probed.model_validate(point["task"])
    torch.set_num_threads(task.threads)
    yield from trained(task)
    if not task.measured.is_file():
        walk(task)
        probe(task)  # last: its file says that all is done
    yield {"pictures": float(task.pictures)}


def is_search(point: Point) -> bool:
    """Return whether a point is a search over the latents of a model, instead of a training."""
    task = point["task"]
    return isinstance(task, dict) and task.get("kind") == "latent"


class AdversarialSpec(StudySpec):
    """A model, and the ways in which it goes on."""

    model: DiffusionSpec = Field(description="What all go on from, and how it is trained.")
    tuning: Budget = Field(description="How they go on; K times as long where updates are to be equal.")
    attack: Adversarial = Field(Adversarial(), description="Of the adversarial trainings; both gradients are tried.")
    gamma: float = Field(0.1, ge=0, description="Of the training with noisier inputs.")
    probe: Probe = Probe()
    quality: TableSpec | None = Field(None, description="How what they draw is judged; null: not at all.")
    shaken: ShakenSpec | None = Field(None, description="How their seeds are shaken; null: not at all.")
    searched: SearchedSpec | None = Field(None, description="How their latents are searched; null: not at all.")

    asks: ClassVar = "What does adversarial training change that as much plain training does not?"

    @model_validator(mode="after")
    def _plain_start(self) -> "AdversarialSpec":
        if self.model.perturbation.kind != "none":
            raise ValueError(f"model.perturbation: expected kind none, found {self.model.perturbation.kind}")
        return self

    def start(self) -> str:
        """Return the folder of the model that all go on from."""
        return str(self._task(self.model).folder / "model")

    def models(self) -> dict[str, DiffusionSpec]:
        """Return every model by its name, the one that all go on from first."""
        plain, noisier = Unperturbed(), InputNoise(gamma=self.gamma)
        more = self.attack.updates
        found = {
            "original": self.model,
            "fine-tuned": self._tuned(plain),
            "noisier inputs": self._tuned(noisier),
            **{f"adversarial, {gradient}": self._tuned(self.under(gradient)) for gradient in GRADIENTS},
        }
        if more > 1:
            found |= {
                f"fine-tuned, {more} x": self._tuned(plain, more),
                f"noisier inputs, {more} x": self._tuned(noisier, more),
                self.unattacked(): self._tuned(self.attack.model_copy(update={"step": 0.0})),
            }
        return found

    def equal(self) -> tuple[str, str]:
        """Return the names of the plain trainings of as many minibatches and as many updates as those under attack."""
        more = self.attack.updates
        return "fine-tuned", f"fine-tuned, {more} x" if more > 1 else "fine-tuned"

    def unattacked(self) -> str:
        """Return the name of the training that differs from those under attack in the attack alone."""
        more = self.attack.updates
        return f"unattacked, {more} x" if more > 1 else "fine-tuned"

    def without_attack(self) -> tuple[str, ...]:
        """Return the names of the trainings that those under attack are compared with, the closest first."""
        return tuple(dict.fromkeys((self.unattacked(), *self.equal())))

    def controls(self) -> tuple[tuple[str, str], ...]:
        """Return which model is compared with which: everything with as much plain training, attacks in every way."""
        attacks = tuple(
            (f"adversarial, {gradient}", other) for gradient in GRADIENTS for other in self.without_attack()
        )
        plain = dict.fromkeys(self.equal())
        return (*attacks, *((other.replace("fine-tuned", "noisier inputs"), other) for other in plain))

    def under(self, gradient: Gradient) -> Adversarial:
        """Return the attack with this gradient."""
        return self.attack.model_copy(update={"gradient": gradient})

    def tasks(self) -> dict[str, Probed]:
        """Return the trial of every model."""
        return {name: self._task(model) for name, model in self.models().items()}

    @property
    @override
    def room(self) -> float:
        return max((cpus(spec.run) for spec in (self.quality, self.shaken) if spec), default=0)

    @override
    def questions(self) -> Iterator[AnyQuestion]:
        yield from filter(None, (self.table(), self.brittleness()))

    def table(self) -> Quality | None:
        """Return the question of how good what they draw is; None where it is not asked."""
        return self.quality.of(f"{self.name}-quality", self.folders(), self.run) if self.quality else None

    def brittleness(self) -> Factorial | None:
        """Return the question of how brittle they are; None where it is not asked."""
        return self.shaken.of(f"{self.name}-shaken", self.folders(), self.run) if self.shaken else None

    def searches(self) -> dict[str, LatentStudySpec]:
        """Return the searches over latents of every model; none where they are not asked for."""
        return self.searched.of(self.folders(), self.run) if self.searched else {}

    def folders(self) -> dict[str, Path]:
        """Return the folder of every trained model by its name."""
        return {name: task.folder / "model" for name, task in self.tasks().items()}

    @property
    @override
    def trainable(self) -> Trainable:
        return run

    @override
    def phases(self) -> Iterator[Mapping[str, Task]]:
        first, *others = self.tasks().items()
        yield dict([first])
        yield dict(others)
        if searches := self.searches():  # these need the weights
            named = ((name, study.tasks("search")) for name, study in searches.items())
            yield {f"{name}: {part}": task for name, tasks in named for part, task in tasks.items()}

    @override
    def check(self) -> None:
        self.model.data.rows()
        if self.quality:
            self.quality.check()
        if self.shaken:
            self.shaken.check()
        if self.searched:
            self.searched.refuse_attempts()
        if (found := len(self.model.data.unseen(self.probe.pictures))) < self.probe.pictures:
            raise ValueError(
                f"probe.pictures: expected at most {found}, the pictures of the source that are not in its training "
                f"set, found {self.probe.pictures}; lower model.data.count"
            )

    @override
    def plan(self) -> Iterator[str]:
        tasks = self.tasks()
        yield f"models     {len(tasks)}; {sum(task.measured.is_file() for task in tasks.values())} are done"
        for name, task in tasks.items():
            cost = (
                f"{task.model.minibatches:,} minibatches, {task.model.updates:,} updates, {task.model.passes:,} passes"
            )
            yield f"{name:<22}{cost}"
        yield f"measuring  {self.probe.pictures} unseen pictures at {self.probe.levels} time steps"
        if table := self.quality:
            cells = len(tasks) * len(table.samplers) * len(table.nfe)
            yield f"drawing    {cells} cells of a table: samplers x calls of every model"
        if shaken := self.shaken:
            yield f"shaking    seeds of every model, {len(shaken.strengths)} shifts"
        if searched := self.searched:
            pictures = 1 + searched.search.iterations
            yield f"searching  {len(searched.attempts())} latents of every model, at most {pictures} pictures each"
        yield f"trials     {self.run.trials.actors} at a time, {self.run.device}"

    @override
    def page(self) -> "Page":
        from tuning.training.diffusion.twins_page import page

        return page(self)

    def _tuned(self, perturbation: AnyPerturbation, times: int = 1) -> DiffusionSpec:
        further = {
            "network": Pretrained(model=self.start()),
            "budget": longer(self.tuning, times),
            "perturbation": perturbation,
        }
        return self.model.model_copy(update=further)

    def _task(self, model: DiffusionSpec) -> Probed:
        return Probed(model=model, probe=self.probe, output=self.run.output, **self.run.training())


def longer(budget: Budget, times: int) -> Budget:
    """Return the budget stretched: so many times the updates, whose learning rates rise and fall alike."""
    stretched = {name: getattr(budget, name) * times for name in ("pictures", "warmup", "decay", "checkpoint")}
    return budget.model_copy(update=stretched)
