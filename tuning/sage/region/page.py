"""What a page says of the region around found failures."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from pipelines.figures import CONTROL, INK, sheet, whiskers
from pipelines.report import Picture, interval
from stages.metrics import Estimate
from tuning.sage.region.task import RegionTask

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTION = (
    "Share of found failures that still fail when sqrt(1 - b^2) of the latent meets b of fresh noise, 95 %; "
    "dotted: plain seeds of the same prompt."
)


@dataclass(frozen=True)
class Around:
    """What is kept of the region, as its trial wrote it."""

    kept: dict[str, Any]

    def estimate(self, name: str) -> Estimate:
        """Return one of its estimates."""
        return Estimate.model_validate(self.kept["estimates"][name])

    def chances(self) -> Iterator[tuple[str, Estimate, Estimate]]:
        """Yield the prompts whose probability of failure was measured: by plain draws, by subset simulation."""
        for one in self.kept["chances"]:
            yield one["prompt"], Estimate.model_validate(one["plain"]), Estimate.model_validate(one["rare"])

    def persistence(self) -> Iterator[tuple[float, Estimate]]:
        """Yield b, and the share of found failures that outlast it."""
        for one in self.kept["persistence"]:
            yield one["strength"], Estimate.model_validate(one["fails"])

    def sentences(self) -> Iterator[str]:
        """Yield what the region is like, a sentence each."""
        radius = self.estimate("radius, radians")
        yield (
            f"A found failure ends {interval(radius)} radians away in a random direction, the median over "
            f"{radius.n}; two plain seeds are 1.57 apart."
        )
        linked = self.estimate("pairs connected")
        between, away = (
            self.estimate(f"failing share of the way {to}") for to in ("between failures", "to plain seeds")
        )
        yield (
            f"Paths of failures connect {interval(linked)} of {linked.n} pairs of failures of one prompt; of the "
            f"straight way between them {interval(between)} fails, of that to a plain seed {interval(away)}."
        )
        for prompt, plain, rare in self.chances():
            yield (
                f"{prompt!r} fails from a plain seed with probability {scientific(plain)} (n = {plain.n}), "
                + (
                    "subset simulation reached none."
                    if math.isnan(rare.value)
                    else f"by subset simulation {scientific(rare)}."
                )
            )

    def table(self) -> pd.DataFrame:
        """Return every estimate."""
        rows = [(name, Estimate.model_validate(one)) for name, one in self.kept["estimates"].items()]
        rows += [(f"outlasts b = {b:g}", one) for b, one in self.persistence()]
        rows += [(f"P(fails), plain: {prompt}", plain) for prompt, plain, _ in self.chances()]
        rows += [(f"P(fails), subset simulation: {prompt}", rare) for prompt, _, rare in self.chances()]
        return pd.DataFrame([{"measure": name, **one.model_dump()} for name, one in rows])

    def picture(self) -> Picture:
        """Return the figure."""
        return Picture("region", CAPTION, self.curve())

    def curve(self) -> "Figure":
        """Return the share of failures that outlast a perturbation, by its strength."""
        figure, (axis,) = sheet(4.6, 3.2, 1, 1)
        points = list(self.persistence())
        strengths, found = [b for b, _ in points], [one for _, one in points]
        ends = whiskers(found)
        axis.errorbar(strengths, [one.value for one in found], yerr=ends, color=INK, marker="o", capsize=3)
        for _, plain, _ in self.chances():
            axis.axhline(plain.value, color=CONTROL, linestyle=":")
        axis.set_xlim(0, 1)
        axis.set_ylim(-0.03, 1.03)
        axis.set_xlabel("b: share of fresh noise", fontsize=8)
        axis.set_ylabel("still fail", fontsize=8)
        return figure


def around(task: RegionTask) -> Around | None:
    """Return what a trial found; None where it found no failure to look around."""
    kept = json.loads(task.measured.read_text(encoding="utf-8"))
    return Around(kept) if kept["failures"] else None


def scientific(one: Estimate) -> str:
    """Return a probability that may be tiny, with its interval."""
    return f"{one.value:.2g} [{one.low:.2g}, {one.high:.2g}]"
