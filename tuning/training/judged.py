"""How the models that a study trains are judged: by questions like any other. Imports no heavy library."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import Field, JsonValue

from pipelines.factorial import Factorial, FactorialSpec
from pipelines.factorial_arms import Arm
from pipelines.named_model import NamedModel
from pipelines.quality import Quality, QualitySpec, refuse_sampler
from pipelines.question import QuestionSpec
from pipelines.run import RunSpec
from stages.storage import below
from tuning.keeping import ROWS
from tuning.search import SearchRun

S = TypeVar("S", bound=QuestionSpec)


class TableSpec(QualitySpec):
    """The settings of `seedquake quality` but for the models, which are those that the study trains."""

    models: tuple[NamedModel, ...] = Field((), max_length=0, description="Those of the study; nothing to set.")

    def check(self) -> None:
        """Refuse what no trained model could be asked; raises `ValueError`."""
        self.prompts.load()
        for entry in self.samplers:
            refuse_sampler(entry)

    def of(self, name: str, models: Mapping[str, Path], run: SearchRun) -> Quality:
        """Return the question about trained models, which are folders; its rows lie in the output of the study."""
        return Quality(about(self, QualitySpec, name, {"models": named(models)}, run))


class ShakenSpec(FactorialSpec):
    """The settings of `seedquake factorial` but for the arms, which are the models that the study trains."""

    arms: tuple[Arm, ...] = Field((), max_length=0, description="Those of the study; nothing to set.")

    def check(self) -> None:
        """Refuse what no trained model could be asked; raises `ValueError`."""
        self.prompts.load()

    def of(self, name: str, models: Mapping[str, Path], run: SearchRun) -> Factorial:
        """Return the question about trained models, which are folders; its rows lie in the output of the study."""
        return Factorial(about(self, FactorialSpec, name, {"arms": named(models)}, run))


def about(settings: QuestionSpec, kind: type[S], name: str, models: Mapping[str, JsonValue], run: SearchRun) -> S:
    """Return the settings of a question about these models, in the output of a study."""
    found = settings.model_dump(mode="json") | {"name": name, **models}
    found["run"] |= run.model_dump(include={"output", "device", "address", "tracking_uri", "experiment"})
    if run.store and not settings.run.store:
        found["run"]["store"] = below(run.store, ROWS)
    return kind.model_validate(found)


def named(models: Mapping[str, Path]) -> JsonValue:
    """Return models, which are folders, as a question lists them."""
    return [{"model": str(folder.absolute()), "name": called} for called, folder in models.items()]


def cpus(run: RunSpec) -> float:
    """Return the CPUs that drawing needs at once, and one for reading."""
    return (0 if run.generate.gpus else run.generate.actors * run.generate.cpus) + 1
