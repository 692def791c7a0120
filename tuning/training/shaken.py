"""How brittle the models of a study are: their slopes under shifts of the seed, and how much some differ."""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from pipelines.factorial_answers import FactorialAnswers, Response
from pipelines.report import direction, interval
from stages.metrics import Estimate
from stages.metrics.factorial import combined
from tuning.training.table import compared_rows, told

UNIT = "a standard deviation of a channel's mean"


class Shaken:
    """The slopes of a study's models, some of which are compared with others on the same prompts and seeds."""

    def __init__(self, answers: FactorialAnswers, pairs: Iterable[tuple[str, str]]) -> None:
        """`pairs` names each model that is compared, and its control."""
        self.answers, self.pairs = answers, tuple(pairs)
        self.names = [cell.name for cell in answers.cells]

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return a row a model, what it loses under shifts and in a random direction of that norm, and the changes."""
        answers = self.answers
        responses = {
            "unshifted": answers.named("unshifted"),
            f"change for {UNIT}": answers.slope,
            "in a random direction": answers.named("random_direction_slope"),
        }
        rows = [
            {"model": name} | {title: self._told(response, cell) for title, response in responses.items() if response}
            for cell, name in enumerate(self.names)
        ]
        changes = compared_rows(self.pairs, self.change, "loses less by", digits=4)
        return {f"Seeds shaken: {answers.headline}": pd.DataFrame(rows), f"Seeds shaken, for {UNIT}": changes}

    def sentences(self) -> Iterator[str]:
        """Return which models clearly lose less, or more, than their controls; then what is unclear."""
        changes = {pair: self.change(pair) for pair in self.pairs}
        return told(changes, self._loss, "what they lose under shifts of the seed")

    def change(self, pair: tuple[str, str]) -> Estimate:
        """Return the slope of a model less that of its control; above 0 it loses less."""
        weights = np.zeros(len(self.names))
        weights[self.names.index(pair[0])], weights[self.names.index(pair[1])] = 1, -1
        return combined(self.answers.slope.cells, weights)[0]

    def _told(self, response: Response, cell: int) -> str:
        return interval(self.answers.of_cell(response, cell), digits=3)

    def _loss(self, one: str, other: str, found: Estimate) -> str:
        more = direction(found, "less", "more")
        return (
            f"Under shifts of the seed {one} loses {more} than {other}: {interval(found, '+', digits=4)} "
            f"of {self.answers.headline} for {UNIT} (n={found.n})."
        )
