"""The ledger: verdicts, statistics on rows whose truth is planted, the page, the command."""

import math
from pathlib import Path

import numpy as np
import pytest

from pipelines.answers import Answers, Rows
from pipelines.claims import CLAIMS, brittle, chosen, ledger
from pipelines.claims.brittle import Sweep
from pipelines.claims.claim import Finding, Range
from pipelines.config import UserError
from pipelines.grid import Grid, Seeds
from pipelines.prompts import Prompt
from stages.metrics import Estimate
from stages.perturbations import Control, StdShift, UniformMeanShift, UniformRandomMeanShift
from stages.randomness import rng

STRENGTHS = (-1.6, -0.8, -0.4, 0.4, 0.8, 1.6)
SHIFTS = (
    Control(),
    *(UniformMeanShift(shift=s) for s in STRENGTHS),
    *(UniformRandomMeanShift(scale=2 * s) for s in STRENGTHS),
    *(StdShift(shrink=s) for s in (-0.3, 0.3)),
)


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=value, low=low, high=high, n=9, method="planted")


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (estimate(2.0, 1.6, 2.4), "reproduced"),
        (estimate(2.0, 1.4, 2.4), "undecided"),
        (estimate(1.0, 0.8, 1.4), "contradicted"),
        (estimate(4.0, 2.6, math.nan), "contradicted"),  # beyond every strength that was tried
        (estimate(2.2, 1.9, math.nan), "undecided"),
        (estimate(2.0, math.nan, math.nan), "undecided"),
        (Estimate.missing(9, "planted"), "undecided"),
    ],
)
def test_a_verdict_needs_the_whole_interval(found: Estimate, verdict: str):
    assert Range(1.5, 2.5).judge(found) == verdict


def planted(**losses: float) -> Sweep:
    """Rows of 4 classes whose chance to be right falls by a loss per unit of each kind's strength.

    `last` is how much more the last class loses, `green` how much greener and `right` how much farther right pictures
    grow per unit of shift.
    """
    random, classes, seeds = rng(0, "claims"), 4, 120
    prompts = tuple(Prompt(f"a {i}", i, f"class{i}") for i in range(classes))
    texts = tuple(p.canonical() for p in SHIFTS)
    grid = Grid("m", "r", prompts, Seeds(count=seeds), texts, ("{}",))
    shape = (seeds, 1, len(SHIFTS), classes)
    strength = np.array([p.strength for p in SHIFTS])[:, None]
    rate = np.array([losses.get(p.kind, 0.0) for p in SHIFTS])[:, None] * np.abs(strength)
    rate = rate + np.where(
        np.array([p.kind == "std_shift" for p in SHIFTS])[:, None], losses.get("sign", 0) * strength, 0
    )
    rate = rate * np.where(np.arange(classes) == classes - 1, losses.get("last", 1.0), 1.0)
    columns = {
        "top1_correct": (random.random(shape) < 0.9 - rate).astype(float),
        "green_mean": random.normal(100, 3, shape) + losses.get("green", 0) * strength,
        "red_mean": random.normal(100, 3, shape),
        "blue_mean": random.normal(100, 3, shape),
        "saliency_x": random.normal(0.5, 0.05, shape) + losses.get("right", 0) * strength,
        "latent_mean_z": np.broadcast_to(16 * np.abs(strength), shape),
        "drawn": np.ones(shape, bool),
        "failed": np.zeros(shape, bool),
    }
    return Sweep(Answers(Rows(grid, {name: column.ravel() for name, column in columns.items()}), {}))


def covers(found: Estimate, truth: float) -> bool:
    return found.low <= truth <= found.high


def test_the_ratio_of_break_points_is_found():
    found = brittle.slower(planted(uniform_mean_shift=0.6, uniform_random_mean_shift=0.3))
    assert covers(found, 2)
    assert found.high - found.low < 0.6


def test_the_break_point_is_counted_in_standard_deviations():
    found = brittle.deviations(planted(uniform_mean_shift=0.6))  # half of .9 is lost at .75
    assert covers(found, 16 * 0.75)
    assert Range(high=3.3).judge(found) == "contradicted"


def test_a_model_that_never_breaks_has_no_ratio():
    found = brittle.slower(planted(uniform_mean_shift=0.6))
    assert math.isnan(found.value)
    assert Range(1.5, 2.5).judge(found) == "undecided"


@pytest.mark.parametrize("sign", [-1.0, 0.0, 1.0])
def test_shrinking_is_compared_with_growing(sign: float):
    """At +-0.3 the chance falls by 0.3 +- 0.3 of the sign."""
    found = brittle.shrinking(planted(std_shift=1.0, sign=sign))
    assert covers(found, -0.6 * sign)
    assert Range(high=0).judge(found) == ("reproduced" if sign > 0 else "contradicted" if sign < 0 else "undecided")


def test_colour_and_place_follow_the_sign_of_the_shift():
    """The mean over .4, .8 and 1.6 of the difference of both sides is 2 x 2.8 / 3 of what a unit does."""
    sweep = planted(green=5, right=0.02)
    assert covers(brittle.greener(sweep), 5 * 2 * 2.8 / 3)
    assert covers(brittle.rightward(sweep), 0.02 * 2 * 5.6 / 3)
    assert covers(brittle.greener(planted()), 0)


def test_classes_are_chosen_on_other_rows_than_they_are_measured():
    """Where all classes lose alike, the most and the least broken differ by nothing."""
    assert covers(brittle.classes_apart(planted(uniform_mean_shift=0.2)), 0)
    apart = brittle.classes_apart(planted(uniform_mean_shift=0.2, last=2.5))
    assert covers(apart, 0.2 * 1.5 * 2.8 / 3)


def test_the_unshifted_share_is_that_of_the_control():
    sweep = planted(uniform_mean_shift=0.5)
    found = brittle.unshifted("top1_correct")(sweep)
    assert found.value == pytest.approx(sweep.column("top1_correct", None).mean())
    assert abs(found.value - 0.9) < 0.05
    assert found.low < found.value < found.high


def test_a_slight_shift_that_does_nothing_does_not_help():
    assert covers(brittle.slightly_positive(planted()), 0)
    assert brittle.slightly_positive(planted(uniform_mean_shift=0.6)).high < 0


def found(name: str) -> Finding:
    return Finding(
        claim=name,
        estimate=estimate(2.0, 1.6, 2.4),
        verdict="reproduced",
        model="m; 3 | 4 rows",
        report="runs/x",
        measured="2026-01-01",
    )


def test_a_ledger_keeps_what_was_found_before(tmp_path: Path):
    first, second, *_ = CLAIMS
    ledger.keep(found(first), tmp_path)
    ledger.keep(found(second), tmp_path)
    page = ledger.page(ledger.kept(tmp_path, CLAIMS), CLAIMS)
    assert page.count("| reproduced |") == 2
    assert page.count("| not measured |") == sum(not c.published for c in CLAIMS.values()) - 2
    assert all(f"(`{name}`)" in page for name in CLAIMS)
    assert "3 \\| 4 rows" in page


def test_claims_are_chosen_by_name_or_source():
    assert [c.name for c in chosen([], CLAIMS)] == [name for name, c in CLAIMS.items() if not c.published]
    assert [c.name for c in chosen(["brittle/unshifted-top1"], CLAIMS)] == ["brittle/unshifted-top1"]
    assert not any(c.published for c in chosen(["brittle"], CLAIMS))
    assert [c.name for c in chosen(["brittle/classes-differ"], CLAIMS)] == ["brittle/classes-differ"]
    assert {c.name.partition("/")[0] for c in chosen(["brittle"], CLAIMS)} == {"brittle"}
    with pytest.raises(UserError, match="expected some of brittle/"):
        chosen(["brittle", "nonsense"], CLAIMS)
