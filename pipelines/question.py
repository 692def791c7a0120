"""What every question has: a spec that names it, the rows that it draws and measures, and a page that answers it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeAlias, TypedDict, TypeVar

from pydantic import Field

from pipelines.grid import Grid
from pipelines.measure import Measure, derivation, generation, measurement, redrawing
from pipelines.pipeline import Pipeline, Step
from pipelines.prompts import Prompt
from pipelines.run import RunSpec
from pipelines.sharded_model import ShardedGenerate, ShardedGenerateSpec
from pipelines.shards import Shards
from pipelines.store import Store
from stages.base import Spec, digest
from stages.generate import Generate, GenerateSpec
from stages.models.outline import outline
from stages.sampling.recording import Recording, together

if TYPE_CHECKING:
    from pipelines.report import Page
    from pipelines.sweep import Swept, Watch


class QuestionSpec(Spec):
    """The settings that every question has."""

    question: str = Field(description="Which question this is; `plan` and `report` go by it.")
    name: str = Field(pattern=r"^[\w.-]{1,80}$", description="Name of the run's folder.")
    run: RunSpec = RunSpec()

    def identity(self) -> str:
        """Return 8 hex digits that name these settings: everything but where and how they run."""
        return digest(self.model_dump(mode="json", exclude={"question", "run"}))[:8]

    @property
    def folder(self) -> str:
        """Return the folder of this question's report."""
        return f"{self.run.output.rstrip('/')}/{self.name}-{self.identity()}"

    @property
    def store(self) -> str:
        """Return where the rows are, shared by every question with the same output or store."""
        return self.run.store or f"{self.run.output.rstrip('/')}/store"

    def described(self) -> dict[str, object]:
        """Return every setting as plain values, where and how it runs last: the YAML of the run's folder."""
        settings = self.model_dump(mode="json")
        run = settings.pop("run")
        return {**settings, "run": run}


@dataclass(frozen=True)
class Draw:
    """The rows of one model, and what is measured on them."""

    question: str
    name: str
    """What progress and plans call the model."""
    grids: tuple[Grid, ...]
    """All of one model."""
    run: RunSpec
    store: str
    measures: tuple[Measure, ...]
    shards: Shards | None = None
    """The actors that hold the model, where one cannot."""

    def __len__(self) -> int:
        return sum(map(len, self.grids))

    @property
    def grid(self) -> Grid:
        """Return the first grid."""
        return self.grids[0]

    @property
    def generation(self) -> Pipeline:
        """Return the pipeline over samples that are not in the store."""
        return generation(self.question, self.drawing(recorded(self.measures)), self.measures, self.store)

    def redrawing(self, measures: tuple[Measure, ...]) -> Pipeline:
        """Return the pipeline over samples that are in the store and lack these measures, which only drawing gives."""
        return redrawing(f"{self.question}, drawing again", self.drawing(recorded(measures)), measures, self.store)

    def drawing(self, record: Recording | None) -> Step:
        """Return the step that draws, keeping this much of the trajectories."""
        settings = {"model": self.grid.model, "record": record, **placement(self.run)}
        if self.shards is None:
            return Step(Generate, GenerateSpec.model_validate(settings), self.run.generate)
        named = {"name": self.shards.name, "count": self.shards.count}
        return Step(ShardedGenerate, ShardedGenerateSpec.model_validate(settings | named), self.run.generate)

    def measurement(self, measures: tuple[Measure, ...]) -> Pipeline:
        """Return the pipeline over samples that are in the store and lack these measures."""
        return measurement(f"{self.question}, measuring", measures, self.store)

    def derivation(self, measure: Measure) -> Pipeline:
        """Return the pipeline over samples that lack a measure which is made of another."""
        return derivation(f"{self.question}, measuring", measure, self.store)


S = TypeVar("S", bound=QuestionSpec)


class Question(ABC, Generic[S]):
    """A question, resolved: what it draws and measures, and its answer. Reads files, starts nothing."""

    asks: ClassVar[str]
    """The question in words."""
    settings: ClassVar[type[QuestionSpec]]
    """The type of its spec."""

    def __init__(self, spec: S) -> None:
        self.spec = spec

    @property
    @abstractmethod
    def draws(self) -> tuple[Draw, ...]:
        """Return what it draws: at least one."""

    @property
    @abstractmethod
    def models(self) -> tuple[str, ...]:
        """Return the names of all models that it loads."""

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """Return its prompts."""
        return self.draws[0].grid.prompts

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what a plan says beside the number of rows."""
        return ()

    def prepare(self, draw: Draw, watch: "Watch") -> None:
        """Make what the rows of a draw need before they are drawn; Ray is running."""

    def blocks(self, draw: Draw, store: Store) -> Iterator[tuple[Grid, ...]]:  # noqa: ARG002  adaptive ones look there
        """Yield the grids to draw together; the next are asked for when those before them are stored."""
        yield draw.grids

    @abstractmethod
    def page(self, swept: "Swept | None", watch: "Watch | None") -> "Page":
        """Return the answer from what the store holds.

        Controls beside the grid are measured where there is a `watch`, and only read back where there is none, so that
        a report is made again without Ray.
        """


AnyQuestion: TypeAlias = Question[Any]
"""A question whose settings do not matter."""


def recorded(measures: Sequence[Measure]) -> Recording | None:
    """Return what drawing keeps for these measures; None where none of them asks for a trajectory."""
    specs = [measure.spec for measure in measures if measure.draws]
    return together(spec.record for spec in specs if isinstance(spec, GenerateSpec) and spec.record)


class Placement(TypedDict):
    """The settings of a model that say where it runs."""

    batch: int
    dtype: Literal["auto", "float32", "float16", "bfloat16"]
    device: Literal["auto", "cpu", "cuda"]


def placement(run: RunSpec) -> Placement:
    """Return where the models of a run run."""
    return {"batch": run.batch_size, "dtype": run.dtype, "device": run.device}


def refuse_prompts(model: str, called: str, texts: Sequence[str]) -> None:
    """Raise `ValueError` where a model is known not to draw one of the prompts."""
    known = outline(model)
    if known.text and "" in texts:
        raise ValueError(f"prompts: expected texts for {called}, which draws from texts, found an empty prompt")
    if known.classes is not None and (wrong := [text for text in texts if text and text not in known.classes]):
        raise ValueError(f"prompts: expected classes of {called} ({', '.join(known.classes[:12])}), found {wrong[0]!r}")
