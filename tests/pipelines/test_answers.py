"""Answers on rows whose truth is known."""

import numpy as np
import pytest

from pipelines import tables, verdict
from pipelines.answers import Answers, Rows
from pipelines.figures import accuracy_curves, class_heat_map, confusion_map, effects, rendered
from pipelines.grid import Grid, Seeds
from pipelines.prompts import Prompt
from pipelines.report import Page, html
from stages.perturbations import Control, RandomDirection, StdShift, UniformMeanShift
from tests.pages import addresses

SHIFTS = (Control(), *(UniformMeanShift(shift=s) for s in (-0.4, -0.2, 0.2, 0.4)), RandomDirection(rms=0.4))
METRICS = {"top1_correct": "share", "top5_correct": "share", "label_probability": "mean", "clip_score": "mean"}


def sweep(accuracy, *, seeds=200, classes=4, shared=False, perturbations=SHIFTS, drawn=None, labels=True) -> Answers:
    """Rows whose top-1 is a coin with the accuracy of (class, perturbation); the same coin for every perturbation."""
    grid = Grid(
        model="m",
        revision="r",
        prompts=tuple(Prompt(f"a {i}", i if labels else -1, f"class{i}") for i in range(classes)),
        seeds=Seeds(count=seeds, shared=shared),
        perturbations=tuple(p.canonical() for p in perturbations),
        samplers=("{}",),
    )
    shape = (seeds, 1, len(perturbations), classes)
    coin = np.random.default_rng(7).random((seeds, 1, 1, classes))
    chance = np.array([[accuracy(q, p) for q in range(classes)] for p in perturbations])
    right = (coin < chance[None, None]).astype(np.float32)
    if not labels:
        right = np.full(shape, np.nan)
    here = np.ones(shape, dtype=bool) if drawn is None else np.broadcast_to(drawn, shape)
    right = np.where(here, right, np.nan)
    columns = dict.fromkeys(METRICS, right) | {
        "clip_score": 30.0 * (coin < chance[None, None]),
        "top5": np.where(right == 1, np.arange(classes), 0.0),
    }
    columns |= {name: np.zeros(shape) for name in ("latent_mean_z", "latent_norm_z", "latent_ks_p")}
    columns |= {"drawn": here, "failed": np.zeros(shape, dtype=bool)}
    return Answers(Rows(grid, {name: np.asarray(c).ravel() for name, c in columns.items()}), METRICS)


def falling(q: int, p) -> float:
    """Accuracy 0.9, less twice the mean shift; class 0 breaks twice as fast."""
    shift = abs(p.strength) if p.kind == "uniform_mean_shift" else 0.0
    return 0.9 - (2 if q == 0 else 1) * 1.5 * shift


def constant(chance: float):
    return lambda *_: chance


@pytest.fixture(scope="module")
def answers() -> Answers:
    return sweep(falling)


def test_cells_estimate_the_truth(answers: Answers):
    for cell in answers.cells:
        truth = np.mean([max(0.0, falling(q, cell.perturbation)) for q in range(4)])
        top1 = cell.values["top1_correct"]
        assert top1.n == 800
        assert top1.low - 0.02 < truth < top1.high + 0.02


def test_changes_are_paired_with_the_control(answers: Answers):
    """With common random numbers a row never gains when its chance falls."""
    strong = next(c for c in answers.cells if c.perturbation.strength == 0.4 and c.number == 4)
    change = strong.changes["top1_correct"]
    control = answers.cells[0].values["top1_correct"].value
    assert change.value == pytest.approx(strong.values["top1_correct"].value - control)
    assert change.high < 0
    assert strong.p_holm < 1e-6


def test_a_control_direction_changes_nothing(answers: Answers):
    cell = answers.cells[-1]
    assert cell.changes["top1_correct"].value == 0
    assert cell.p_holm == 1
    assert cell.changes["top1_correct"].low < 0 < cell.changes["top1_correct"].high


def test_the_break_point_is_where_half_is_lost(answers: Answers):
    """Mean accuracy is 0.9 - 1.5 * 1.25 * shift, so half is lost at 0.24; class 0 reaches 0 at 0.3."""
    family = verdict.main_family(answers)
    assert family.name == "uniform_mean_shift"
    assert family.strengths.tolist() == [-0.4, -0.2, 0.0, 0.2, 0.4]
    assert family.breaks.reached
    assert family.breaks.strength.low < 0.255 < family.breaks.strength.high + 0.03
    assert "It breaks" in verdict.verdict(answers)


def test_the_most_broken_class_comes_first(answers: Answers):
    classes = answers.classes()
    assert next(iter(classes)) == "class0"
    assert classes["class0"].high < min(e.low for name, e in classes.items() if name != "class0")


def test_no_break_is_said_as_such():
    still = sweep(constant(0.9))
    assert "Not broken" in verdict.verdict(still)
    assert not verdict.main_family(still).breaks.reached


def test_shared_seeds_widen_the_interval():
    """Rows of one seed that agree count once: 50 seeds x 4 classes carry no more than 50 rows."""

    def spread(shared: bool) -> float:
        answers = sweep(constant(0.5), seeds=50, shared=shared)
        column = answers.rows.columns["top1_correct"]
        column[:] = column[..., :1]
        cell = answers.value("top1_correct", 0, 0)
        return cell.high - cell.low

    assert spread(shared=True) > 1.7 * spread(shared=False)


def test_rows_that_were_not_drawn_are_not_missing():
    """Adaptive sampling stops early for some perturbations; its rows are absent, not failed."""
    drawn = np.ones((200, 1, len(SHIFTS), 1), dtype=bool)
    drawn[50:, :, 2] = False
    cell = next(c for c in sweep(falling, drawn=drawn).cells if c.number == 2)
    assert (cell.drawn, cell.values["top1_correct"].n, cell.values["top1_correct"].n_missing) == (200, 200, 0)
    assert cell.changes["top1_correct"].n == 200


def test_failed_rows_are_missing_and_never_zero():
    answers = sweep(constant(1.0))
    columns = answers.rows.columns
    columns["drawn"][:20], columns["failed"][:20], columns["top1_correct"][:20] = False, True, np.nan
    top1 = answers.value("top1_correct", 0, 1)
    assert (top1.value, top1.n, top1.n_missing) == (1.0, 720, 80)


def test_prompts_without_labels_are_judged_by_clip():
    answers = sweep(falling, labels=False)
    assert answers.headline == "clip_score"
    assert "CLIP score" in verdict.verdict(answers)
    assert (answers.classes(), answers.confusion(0, bool)) == ({}, {})
    assert rendered(accuracy_curves(answers, {}, 0), "png").startswith(b"\x89PNG")


def test_a_family_that_never_meets_the_control_is_still_a_curve():
    answers = sweep(falling, perturbations=(Control(), StdShift(shrink=0.2)))
    assert verdict.main_family(answers).strengths.tolist() == [0.0, 0.2]


def test_confusion_counts_every_image(answers: Answers):
    counts = answers.confusion(0, lambda p: p.kind == "none")
    assert sum(counts.values()) == 800


def test_the_class_that_stands_for_nothing_is_named(answers: Answers):
    """These rows take every wrong picture for class 0, which therefore looks robust and is not."""
    (sentence,) = verdict.fallback_sentences(answers, [f"class{i}" for i in range(4)])
    assert "100% were 'class0'" in sentence
    assert verdict.fallback_sentences(sweep(constant(1.0)), ["class0"]) == []


def test_tables_hold_every_interval(answers: Answers):
    cells = tables.cells(answers, {})
    assert len(cells) == len(SHIFTS)
    assert {"top1_correct", "top1_correct_low", "top1_correct_high", "top1_correct_n", "p_holm"} <= set(cells.columns)
    assert len(tables.classes(answers)) == 4
    assert set(tables.families(answers)["family"]) == {"uniform_mean_shift", "random_direction"}
    assert tables.confusion(answers, ["zero"])["images"].sum() == len(SHIFTS) * 200 * 4


def test_figures_are_pictures(answers: Answers):
    family = verdict.main_family(answers)
    counts = answers.confusion(0, lambda p: p.kind != "none")
    figures = [
        accuracy_curves(answers, {}, 0),
        class_heat_map(answers, family),
        effects(answers, "top1_correct", 0),
        confusion_map(counts, ["zero", "one"]),
    ]
    for figure in figures:
        assert rendered(figure, "png").startswith(b"\x89PNG")
        assert b"<svg" in rendered(figure, "svg")[:500]


def test_the_page_escapes_what_users_wrote(answers: Answers):
    page = Page(
        "<script>", "q", "v & w", ("<b>",), (), {}, tables.families(answers)[:0], {"Model": "<img>"}, {"a": "<i>"}
    )
    text = html(page, {})
    for tag in ("<script>", "<b>", "<img>", "<i>"):
        assert tag not in text
    assert addresses(text) == []
