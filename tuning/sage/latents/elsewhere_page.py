"""What a page says of found latents with the prompts of other classes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64

from pipelines.report import interval
from stages.metrics import Bootstrap, Estimate, paired_difference, proportion_difference
from stages.metrics.clustered import share
from stages.metrics.estimate import widest
from tuning.sage.latents.elsewhere import ARMS, Moved

WORDS = {
    "found": "the latents found",
    "own_seed": "the plain seeds that their searches started from",
    "fresh_seed": "fresh seeds",
}


@dataclass(frozen=True)
class ElsewhereAnswers:
    """What was tried, a row a latent and another prompt; rows of one latent are a cluster."""

    rows: Sequence[Moved]

    def rate(self, arm: str) -> Estimate:
        """Return the share of other prompts with which an arm fails, with Wilson's interval over latents."""
        return share(self._fails(arm), self._clusters())

    def gain(self, control: str) -> Estimate:
        """Return the share of the latents found less that of a control with the same prompts.

        The interval is the wider of that over latents and that over pairs, which has a width where none changes.
        """
        plain, found = self._fails(control), self._fails("found")
        over_latents = paired_difference(plain, found, Bootstrap(), self._clusters())
        return widest([proportion_difference(plain, found), over_latents])

    def sentences(self) -> Iterator[str]:
        """Yield what other prompts show."""
        if not self.rows:
            return
        found, own, fresh = (interval(self.rate(arm)) for arm in ARMS)
        yield (
            f"With the prompts of other classes the latents found fail in {found}, {WORDS['own_seed']} in {own} "
            f"({interval(self.gain('own_seed'), '+')}), {WORDS['fresh_seed']} in {fresh} "
            f"({interval(self.gain('fresh_seed'), '+')})."
        )

    def table(self) -> pd.DataFrame:
        """Return a row a latent and another prompt."""
        columns = ["failure", "label", "prompt", *ARMS]
        rows = [one.model_dump(exclude={"query"}) | one.query.model_dump(exclude={"target"}) for one in self.rows]
        return pd.DataFrame(rows, columns=columns)

    def _fails(self, arm: str) -> Float64[np.ndarray, " n"]:
        return np.array([getattr(one, arm) for one in self.rows], dtype=np.float64)

    def _clusters(self) -> Int64[np.ndarray, " n"]:
        names = [one.failure for one in self.rows]
        return np.array([names.index(name) for name in names], dtype=np.int64)
