"""The question: how does the sampler carry a shifted seed.

After section 5 of "The brittle latent space of diffusion models" (arXiv:2312.11473), which finds that GLIDE makes a
large first jump and Stable Diffusion steps of one length. Beside its step lengths: how far a shifted trajectory stays
from its control, drawn under the same step noise.
"""

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field
from typing_extensions import override

from pipelines.grid import Grid, Seeds
from pipelines.measure import Measure
from pipelines.prompts import AnyPrompts
from pipelines.question import Draw, Question, QuestionSpec, placement, refuse_prompts
from pipelines.robustness import swept
from pipelines.trajectory_pilot import PilotRows, fit
from stages.base import Spec, digest
from stages.generate import Generate, GenerateSpec
from stages.models.outline import draws_noise
from stages.models.source import revision
from stages.perturbations import AnyPerturbation, Control, RandomDirection, UniformMeanShift
from stages.sampling import SamplerSpec
from stages.sampling.recording import Recording

if TYPE_CHECKING:
    from pipelines.report import Page
    from pipelines.sweep import Swept, Watch

MAX_PILOT_ROWS = 1024
"""Their states lie in memory together."""


class Arm(Spec):
    """A model and the sampler that carries its seeds."""

    model: str = Field(description="zoo:NAME, a local diffusers folder or a hub id, ORG/NAME[@REVISION].")
    sampler: SamplerSpec = Field(description="How latents become pictures.")
    name: str = Field(
        "", max_length=40, description="What the report calls it; empty: the end of `model`, the sampler."
    )

    @property
    def called(self) -> str:
        """Return what the report calls it."""
        return self.name or f"{self.model.rstrip('/').rpartition('/')[2].removeprefix('zoo:')} {self.sampler.scheduler}"

    @property
    def eta(self) -> float:
        """Return the share of ancestral sampling's noise that its sampler draws."""
        if self.sampler.scheduler == "ddim":
            return self.sampler.eta
        return float(draws_noise(self.model, self.sampler))


class PilotSpec(Spec):
    """A few rows, drawn beforehand: their states span the plane, and their strips are shown."""

    prompts: int = Field(4, ge=1, description="Prompts, the first ones.")
    seeds: int = Field(1, ge=1, description="Seeds of each, the first ones.")
    frames: int = Field(8, ge=2, le=50, description="Predicted clean pictures in a strip.")


class TrajectorySpec(QuestionSpec):
    """Samplers to watch while they carry shifted seeds."""

    question: Literal["trajectory"] = "trajectory"
    name: str = Field("trajectory", pattern=r"^[\w.-]{1,80}$", description="Name of the run's folder.")
    arms: tuple[Arm, ...] = Field(min_length=1, description="`model`, `sampler` and `name` of each.")
    prompts: AnyPrompts
    seeds: Seeds
    perturbations: Annotated[tuple[AnyPerturbation, ...], BeforeValidator(swept)] = Field(
        min_length=1, description="Changes to the seed latent; a list in a setting stands for each of its values."
    )
    pilot: PilotSpec | None = Field(PilotSpec(), description="null: neither a plane nor strips.")


class Trajectory(Question[TrajectorySpec]):
    """A comparison of samplers, resolved: a grid for each, and what is recorded of their trajectories."""

    asks = "How does the sampler carry a shifted seed?"
    settings: ClassVar = TrajectorySpec

    def __init__(self, spec: TrajectorySpec) -> None:
        super().__init__(spec)
        self._prompts = spec.prompts.load()
        self.revisions = {arm.model: revision(arm.model, spec.run.dtype) for arm in spec.arms}
        self.names = tuple(arm.called for arm in spec.arms)
        refuse_arms(spec.arms)
        refuse_uncontrolled(spec.perturbations)
        for arm in spec.arms:
            refuse_prompts(arm.model, arm.called, [p.text for p in self._prompts])
        if spec.pilot:
            self._refuse_pilot(spec.pilot)

    @cached_property
    def perturbations(self) -> tuple[AnyPerturbation, ...]:
        """Return the perturbations; the first is the control."""
        return tuple(dict.fromkeys((Control(), *(p for p in self.spec.perturbations if not p.is_mildest))))

    @cached_property
    def grids(self) -> tuple[Grid, ...]:
        """Return the grid of each arm: the same prompts, seeds and perturbations."""
        return tuple(
            Grid(
                model=arm.model,
                revision=self.revisions[arm.model],
                prompts=self._prompts,
                seeds=self.spec.seeds,
                perturbations=tuple(p.canonical() for p in self.perturbations),
                samplers=(arm.sampler.canonical(),),
            )
            for arm in self.spec.arms
        )

    def of_model(self, model: str) -> tuple[Grid, ...]:
        """Return the grids of a model's arms."""
        return tuple(grid for grid in self.grids if grid.model == model)

    @cached_property
    def pilots(self) -> dict[str, PilotRows]:
        """Return the pilot of each model; empty where none is asked for."""
        asked, store = self.spec.pilot, self.spec.store
        if asked is None:
            return {}
        shown = tuple(self.perturbations.index(p) for p in strongest(self.perturbations))
        grids = {model: self.of_model(model) for model in self.models}
        return {m: PilotRows(g, asked.prompts, asked.seeds, shown, asked.frames, store) for m, g in grids.items()}

    def distances(self, model: str) -> Measure:
        """Return the measure of step lengths, channel means and the distance from the control."""
        return Measure(
            Generate,
            self._watched(model, Recording(control=True, channels=True)),
            self.revisions[model],
            called="trajectory",
        )

    def projections(self, model: str) -> Measure | None:
        """Return the measure of where the states lie on the plane of a model's pilot; None without a pilot."""
        pilot = self.pilots.get(model)
        if pilot is None:
            return None
        spec = self._watched(model, Recording(plane=str(pilot.plane)))
        known = digest([self.revisions[model], pilot.key])
        return Measure(Generate, spec, known, apart=frozenset({"record"}), called="projection")

    def _watched(self, model: str, record: Recording) -> GenerateSpec:
        return GenerateSpec(model=model, record=record, **placement(self.spec.run))

    @property
    @override
    def draws(self) -> tuple[Draw, ...]:
        spec = self.spec
        return tuple(
            Draw(
                question=spec.question,
                name=model,
                grids=self.of_model(model),
                run=spec.run,
                store=spec.store,
                measures=tuple(filter(None, (self.distances(model), self.projections(model)))),
            )
            for model in self.models
        )

    @property
    @override
    def models(self) -> tuple[str, ...]:
        return tuple(self.revisions)

    @override
    def prepare(self, draw: Draw, watch: "Watch") -> None:
        if pilot := self.pilots.get(draw.grid.model):
            fit(pilot, draw, watch)

    @override
    def page(self, swept: "Swept | None", watch: "Watch | None") -> "Page":
        from pipelines.trajectory_page import page

        return page(self, swept)

    def _refuse_pilot(self, pilot: PilotSpec) -> None:
        """Raise `ValueError` where the pilot asks for rows that are not there, or for too many."""
        there = {"prompts": len(self._prompts), "seeds": self.spec.seeds.count}
        for name, count in there.items():
            if getattr(pilot, name) > count:
                raise ValueError(
                    f"pilot.{name}: expected at most the {count} of this question, found {getattr(pilot, name)}"
                )
        rows = len(self.spec.arms) * pilot.prompts * pilot.seeds * len(strongest(self.perturbations))
        if rows > MAX_PILOT_ROWS:
            raise ValueError(
                f"pilot: expected at most {MAX_PILOT_ROWS} rows over all arms, found {rows}; ask for fewer"
            )
        if "://" in self.spec.store:
            raise ValueError(
                f"pilot: expected a store in a folder that every actor sees, for the plane, found {self.spec.store}; "
                "set pilot=null"
            )


def strongest(perturbations: tuple[AnyPerturbation, ...]) -> tuple[AnyPerturbation, ...]:
    """Return the control, and the strongest perturbation of each family."""
    found: dict[str, AnyPerturbation] = {}
    for p in perturbations:
        before = found.get(p.family)
        if before is None or (abs(p.strength), p.strength) > (abs(before.strength), before.strength):
            found[p.family] = p
    return tuple(found.values())


def equal_norm(perturbation: AnyPerturbation) -> float | None:
    """Return the root mean square change of a uniform mean shift; None for another perturbation."""
    return abs(perturbation.shift) if isinstance(perturbation, UniformMeanShift) else None


def refuse_arms(arms: tuple[Arm, ...]) -> None:
    """Raise `ValueError` where two arms could not be told apart, or nobody can watch one."""
    if twice := [name for name, times in Counter(arm.called for arm in arms).items() if times > 1]:
        raise ValueError(f"arms: expected a name of its own for each, found {twice[0]!r} twice; set `name`")
    drawn: dict[tuple[str, str], str] = {}
    for arm in arms:
        if (same := drawn.setdefault((arm.model, arm.sampler.canonical()), arm.called)) != arm.called:
            raise ValueError(f"arms: expected arms that differ, found {same!r} and {arm.called!r} alike; leave one out")
        if arm.sampler.measurement:
            raise ValueError(
                f"arms, {arm.called}: expected a sampler without measurement, whose trajectories nobody watches; "
                "leave it out"
            )


def refuse_uncontrolled(perturbations: tuple[AnyPerturbation, ...]) -> None:
    """Raise `ValueError` where nothing is shifted, or a mean shift has no random direction of its length beside it."""
    if all(p.is_mildest for p in perturbations):
        raise ValueError("perturbations: expected at least one that changes the latent, found only the control")
    lengths = {p.rms for p in perturbations if isinstance(p, RandomDirection)}
    lone = sorted({norm for p in perturbations if (norm := equal_norm(p)) and norm not in lengths})
    if lone:
        raise ValueError(
            f"perturbations: expected a random direction of rms {lone[0]:g} as the control of the mean shift of that "
            f"length, found {', '.join(f'{rms:g}' for rms in sorted(lengths)) or 'none'}; "
            f"add {{kind: random_direction, rms: {list(lone)}}}"
        )
