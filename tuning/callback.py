"""What Ray Tune tells of its trials, passed on to the driver's observer."""

from typing import Any, ClassVar

from ray import tune
from ray.tune.experiment import Trial
from typing_extensions import override

from tuning.search import Observer, Point


class Report(tune.Callback):
    """Passes on what trials report.

    Ray writes its callbacks into the folder of the search. So the observer, with its open connections, belongs to the
    class: a search that is taken up again finds that of its own process.
    """

    observer: ClassVar[Observer]

    @override
    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        self.observer.told(trial.trial_id, point(trial), result["reported"])

    @override
    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        self.observer.ended(trial.trial_id, point(trial), failed=False)

    @override
    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        self.observer.ended(trial.trial_id, point(trial), failed=True)


def point(trial: Trial) -> Point:
    """Return what the trial tries."""
    found: Point = trial.config["point"]
    return found
