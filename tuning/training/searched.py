"""How readily a search over latents finds failures of the models that a study trains."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from pipelines.report import direction, interval
from stages.metrics import Estimate, proportion_difference
from tuning.sage import outcomes
from tuning.sage.latent import Attempt
from tuning.sage.latents.study import LatentStudySpec
from tuning.sage.latents.trial import LatentTask, Way
from tuning.sage.outcomes import Outcome
from tuning.search import SearchRun
from tuning.training.table import compared_rows, told


class SearchedSpec(LatentStudySpec):
    """The settings of `seedquake sage latent` but for the model: every model of the study is searched alike.

    They need no random searches beside them: models are compared with each other, from the same seeds.
    """

    model: str = Field("", max_length=0, description="Those of the study; nothing to set.")
    template: str = Field("{label}", pattern=r"\{label\}", description="The prompt of a class: its name.")
    controls: tuple[Way, ...] = ()

    def of(self, models: Mapping[str, Path], run: SearchRun) -> dict[str, LatentStudySpec]:
        """Return the searches of each trained model, which are folders."""
        settings = self.model_dump(mode="json", exclude={"run"}) | {"run": run.model_dump(mode="json")}
        return {name: LatentStudySpec.model_validate(settings | {"model": str(at)}) for name, at in models.items()}


class Searched:
    """What searches of a study's models came to, some of which are compared with others from the same seeds."""

    def __init__(self, studies: Mapping[str, LatentStudySpec], pairs: Iterable[tuple[str, str]]) -> None:
        """`pairs` names each model that is compared, and its control."""
        self.pairs = tuple(pairs)
        self.found = {name: done(study.tasks("search").values()) for name, study in studies.items()}

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return a row a model: how often plain seeds fail, how often and how fast a search does; and the changes."""
        rows = []
        for name, found in self.found.items():
            tried = list(found.values())
            cost = outcomes.pictures_per_failure(tried)
            rows.append(
                {
                    "model": name,
                    "searches": len(tried),
                    "plain seeds that fail": interval(outcomes.natural_rate(tried)),
                    "searches that find a failure": interval(outcomes.success_rate(tried)),
                    "pictures a failure": "-" if np.isnan(cost) else f"{cost:.0f}",
                }
            )
        changes = compared_rows(self.pairs, self.change, "more searches find a failure")
        return {"Latents searched": pd.DataFrame(rows), "Latents searched: changes": changes}

    def sentences(self) -> Iterator[str]:
        """Return whose failures are clearly found more or less often than the control's; then what is unclear."""
        changes = {pair: self.change(pair) for pair in self.pairs}
        return told(changes, found_more, "how often a search finds a failure")

    def change(self, pair: tuple[str, str]) -> Estimate:
        """Return the success rate of searches of a model less that of its control, interval paired.

        Seeds from which either fails by itself are counted as missing.
        """
        one, other = (self.found[name] for name in pair)
        both = [(other[attempt], one[attempt]) for attempt in one if attempt in other]
        rates = [(np.nan, np.nan) if a.natural or b.natural else (a.success, b.success) for a, b in both]
        before, after = np.array(rates, dtype=np.float64).reshape(-1, 2).T
        return proportion_difference(before, after)


def found_more(one: str, other: str, change: Estimate) -> str:
    """Return the sentence on a clear change."""
    more = direction(change, "more", "less")
    return (
        f"A search finds failures of {one} {more} often than of {other}: {interval(change, '+')} of the seeds from "
        f"which neither fails by itself (n={change.n})."
    )


def done(tasks: Iterable[LatentTask]) -> dict[Attempt, Outcome]:
    """Return what came of every search that is done."""
    return {attempt: one for task in tasks for attempt, one in task.done().items()}
