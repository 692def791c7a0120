"""A training set that lies elsewhere: in other processes, on other machines."""

from collections.abc import Callable
from typing import cast

from typing_extensions import override

from stages.models.analytic.base import Rows
from stages.models.analytic.empirical import Partial, TrainingSet


class RemoteTrainingSet(TrainingSet):
    """A training set of `size` [m c h w], and `ask`, which returns the merged answer of all its parts."""

    def __init__(self, size: tuple[int, int, int, int], ask: Callable[[Rows, float], object]) -> None:
        super().__init__()
        self.size, self.ask = size, ask

    @property
    @override
    def shape(self) -> tuple[int, int, int]:
        return self.size[1:]

    @property
    @override
    def count(self) -> int:
        return self.size[0]

    @override
    def partial(self, x: Rows, sigma: float) -> Partial:
        answer = cast("Partial", self.ask(x.cpu(), float(sigma)))
        return Partial(*(part.to(x.device) for part in answer))
