"""What a search samples: ranges of settings, who proposes the next point, and who stops hopeless trials."""

from abc import abstractmethod
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, JsonValue, model_validator
from typing_extensions import override

from stages.base import Spec


class Range(Spec):
    """Values that a setting may take."""

    @abstractmethod
    def domain(self) -> Any:
        """Return the range as Ray Tune samples it."""

    @abstractmethod
    def suggest(self, trial: Any, name: str) -> JsonValue:
        """Return the value that a trial of Optuna proposes."""


class Choice(Range):
    """One of some values."""

    kind: Literal["choice"] = "choice"
    values: tuple[JsonValue, ...] = Field(min_length=1)

    @override
    def domain(self) -> Any:
        from ray import tune

        return tune.choice(list(self.values))

    @override
    def suggest(self, trial: Any, name: str) -> JsonValue:
        return trial.suggest_categorical(name, list(self.values))


class Ordered(Range):
    """Numbers from `low` to `high`, both included."""

    @model_validator(mode="after")
    def _in_order(self) -> "Ordered":
        low, high = getattr(self, "low"), getattr(self, "high")  # noqa: B009  members have them
        if not low < high:
            raise ValueError(f"range: expected low below high, found {low:g} and {high:g}")
        return self


class Uniform(Ordered):
    """Numbers, evenly."""

    kind: Literal["uniform"] = "uniform"
    low: float
    high: float

    @override
    def domain(self) -> Any:
        from ray import tune

        return tune.uniform(self.low, self.high)

    @override
    def suggest(self, trial: Any, name: str) -> JsonValue:
        return trial.suggest_float(name, self.low, self.high)


class LogUniform(Ordered):
    """Positive numbers, evenly in their logarithm."""

    kind: Literal["log_uniform"] = "log_uniform"
    low: float = Field(gt=0)
    high: float

    @override
    def domain(self) -> Any:
        from ray import tune

        return tune.loguniform(self.low, self.high)

    @override
    def suggest(self, trial: Any, name: str) -> JsonValue:
        return trial.suggest_float(name, self.low, self.high, log=True)


class Integers(Ordered):
    """Whole numbers, evenly."""

    kind: Literal["integers"] = "integers"
    low: int
    high: int

    @override
    def domain(self) -> Any:
        from ray import tune

        return tune.randint(self.low, self.high + 1)

    @override
    def suggest(self, trial: Any, name: str) -> JsonValue:
        return trial.suggest_int(name, self.low, self.high)


AnyRange: TypeAlias = Annotated[Choice | Uniform | LogUniform | Integers, Field(discriminator="kind")]


class Sampling(Spec):
    """How many points are tried, who proposes them, and who stops trials that fall behind."""

    trials: int = Field(16, ge=1, le=100_000)
    searcher: Literal["optuna", "random"] = Field("optuna", description="optuna: its tree-structured Parzen estimator.")
    scheduler: Literal["asha", "none"] = Field(
        "asha", description="asha: asynchronous successive halving, Li et al. 2018 (arXiv:1810.05934)."
    )
    grace: float = Field(0.25, gt=0, le=1, description="Share of a trial's budget that ASHA leaves every trial.")
    reduction: int = Field(2, ge=2, le=16, description="ASHA keeps one in so many at each rung.")
    seed: int = Field(0, ge=0, description="Of the proposals.")
