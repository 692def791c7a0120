"""The gallery of a page: what was found, under the picture that its search started from."""

from typing import TYPE_CHECKING

from pipelines.figures import sheet
from pipelines.report import Picture
from tuning.sage.failures import Saved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 12


def gallery(said: str, saved: list[Saved]) -> tuple[Picture, ...]:
    """Return the first failures as one picture of a page, or none where there are none; `said` is its caption."""
    if not saved:
        return ()
    more = f"; {len(saved) - SHOWN} more in failures/" if len(saved) > SHOWN else ""
    return (Picture("failures", f"{said}, with what the judge sees{more}.", pairs(saved[:SHOWN]), wide=True),)


def pairs(saved: list[Saved]) -> "Figure":
    """Return each failure under the picture that its search started from."""
    figure, axes = sheet(max(3.0, 1.05 * len(saved)), 2.8, 2, len(saved))
    for axis in axes:
        axis.axis("off")
    for number, one in enumerate(saved):
        axes[number].imshow(one.before)
        axes[len(saved) + number].imshow(one.after)
        axes[number].set_title(one.failure.label, fontsize=7)
        axes[len(saved) + number].set_title(one.failure.seen["judge"], fontsize=7)
    return figure
