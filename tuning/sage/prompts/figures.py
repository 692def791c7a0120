"""The figures of a search over prompts."""

from typing import TYPE_CHECKING

from pipelines.figures import CONTROL, INK, JUDGE, sheet, whiskers
from stages.metrics import Estimate
from tuning.sage import outcomes
from tuning.sage.prompts.outcomes import fresh_rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tuning.sage.prompts.page import Answers

NAMES = {
    "search": "gradient search",
    "random_candidates": "words at random",
    "random_completions": "random completions",
}


def rates(answers: "Answers") -> "Figure":
    """Return the success rate of the search and of each control."""
    figure, (axis,) = sheet(4.6, 3.2, 1, 1)
    found = [outcomes.success_rate(answers.of(way)) for way in answers.found]
    bars(axis, [NAMES[way] for way in answers.found], [(INK, 0.0, found)], "attempts with a prompt that fails")
    return figure


def fresh(answers: "Answers") -> "Figure":
    """Return how often plain and found prompts fail on fresh seeds, by the way that they were found."""
    figure, (axis,) = sheet(4.6, 3.2, 1, 1)
    ways = [answers.of(way) for way in answers.found]
    plain, found = [fresh_rate(one, plain=True) for one in ways], [fresh_rate(one) for one in ways]
    series = [(CONTROL, -0.18, plain), (JUDGE, 0.18, found)]
    bars(axis, [NAMES[way] for way in answers.found], series, "fresh seeds that fail", width=0.34)
    for colour, name in ((CONTROL, "plain prompt"), (JUDGE, "prompt found")):
        axis.plot([], [], "s", color=colour, label=name)
    axis.legend(frameon=False, fontsize=7)
    return figure


def bars(
    axis: "Axes",
    names: list[str],
    series: list[tuple[str, float, list[Estimate]]],
    label: str,
    width: float = 0.5,
) -> None:
    """Draw bars with their intervals: a group a name, of each colour and offset one."""
    for colour, offset, estimates in series:
        shown = [(at + offset, one) for at, one in enumerate(estimates) if one.n]
        ends = whiskers([one for _, one in shown])
        axis.bar([at for at, _ in shown], [o.value for _, o in shown], width, yerr=ends, color=colour, capsize=3)
    axis.set_xticks(range(len(names)), names, fontsize=8)
    axis.set_ylim(0, 1.03)
    axis.set_ylabel(label, fontsize=8)
