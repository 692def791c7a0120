"""The answers of a factorial design on rows whose truth is known, from the store to the page."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.answers import TOP1
from pipelines.ask import Asked, report
from pipelines.factorial import Factorial
from pipelines.factorial_answers import FactorialAnswers
from pipelines.factorial_figures import curves
from pipelines.factorial_judge import UNTINTED, casts_of, own_slopes
from pipelines.factorial_page import gallery, page
from pipelines.factorial_verdict import sentences, verdict
from pipelines.figures import rendered
from pipelines.grid import Grid
from pipelines.store import Store
from stages.perturbations import parse
from stages.randomness import rng
from tests.pages import addresses
from tests.pipelines.made import save_measured, save_rows
from tests.pipelines.test_factorial import SAMPLERS, TWO, factorial

THREE = (
    "factors={sampler: {DDIM: {scheduler: ddim}, ancestral: {scheduler: ddpm}}, "
    "guidance: {low: {guidance: 1.0}, high: {guidance: 7.5}}}"
)
STRENGTHS = "strengths=[-8, 0, 4, 8]"
COMPARED = TWO % "{scheduler: dpmpp, steps: 3}"


def fall(levels: tuple[str, ...], sigmas: float) -> float:
    """What is lost: DDIM loses four times what ancestral sampling does, guidance changes next to nothing."""
    return sigmas * (0.06 if levels and levels[0] == "DDIM" else 0.015)


def columns(question: Factorial, number: int, start: float = 1.0, lost=fall) -> dict[str, np.ndarray]:
    """Outcomes of one cell: a row's own luck, the same in every cell, says how much it takes to lose it."""
    grid, cell = question.grids[number], question.cells[number]
    shape = (grid.seeds.count, *grid.inner)
    luck = rng(0, "luck").random((grid.seeds.count, 1, 1, len(grid.prompts)))
    shifts = [parse(text) for text in grid.perturbations]
    sizes = [p.strength / cell.sigma if p.kind == "uniform_mean_shift" else 0.0 for p in shifts]
    kept = np.array([start - lost(cell.levels, abs(z)) for z in sizes])[None, None, :, None]
    right = np.broadcast_to(luck < kept, shape).astype(np.float32)
    return {
        **dict.fromkeys((TOP1, "top5_correct", "judge_top1_correct", "label_probability"), right.ravel()),
        "clip_score": 30 * right.ravel(),
        **dict.fromkeys(("red_mean", "green_mean", "blue_mean"), 100 + right.ravel()),
        **dict.fromkeys(("latent_mean_z", "latent_norm_z", "latent_ks_p"), np.zeros(len(grid))),
        "drawn": np.ones(len(grid), dtype=bool),
        "failed": np.zeros(len(grid), dtype=bool),
    }


def answered(question: Factorial, **settings) -> FactorialAnswers:
    return FactorialAnswers(question, [columns(question, i, **settings) for i in range(len(question.cells))])


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> FactorialAnswers:
    return answered(factorial(tmp_path_factory.mktemp("f"), THREE, STRENGTHS, "seeds.count=60"))


def test_the_factor_that_was_planted_carries_the_robustness(answers: FactorialAnswers):
    sampler, guidance, both = answers.slope.effects
    truth = np.mean([s / 8 for s in (0.48 - 0.12, 0.48 - 0.12)])
    assert sampler.estimate.low < truth < sampler.estimate.high
    assert (guidance.estimate.value, both.estimate.value) == (0, 0)
    assert verdict(answers).startswith("Sampler carries the robustness: from DDIM to ancestral it changes the slope of")
    assert "ahead of guidance by" in verdict(answers)


def test_nothing_planted_is_nothing_found(tmp_path: Path):
    same = answered(factorial(tmp_path, THREE, STRENGTHS, "seeds.count=20"), lost=lambda _, z: 0.03 * z)
    assert verdict(same).startswith(
        "No factor is seen to carry the robustness: the largest effect, of sampler from DDIM"
    )


def test_two_factors_that_do_the_same_are_not_told_apart(tmp_path: Path):
    def lost(levels: tuple[str, ...], z: float) -> float:
        return z * 0.03 * sum(level in ("DDIM", "low") for level in levels)

    tied = answered(factorial(tmp_path, THREE, STRENGTHS, "seeds.count=60"), lost=lost)
    assert verdict(tied).startswith(
        ("Undecided between sampler and guidance", "Undecided between guidance and sampler")
    )
    assert "only ahead of" in verdict(tied)


def test_a_change_of_strength_zero_is_nothing_and_a_random_direction_does_nothing(answers: FactorialAnswers):
    assert not answers.slopes(TOP1, random=True).any()
    zero = [cell.changes[TOP1] for a in answers.answers for cell in a.cells if cell.number == 0]
    assert all((e.value, e.n) == (0, 120) for e in zero)


def test_the_raw_change_is_there_at_every_strength(answers: FactorialAnswers):
    found = {r.name: r for r in answers.responses if r.name.startswith("change_at")}
    assert set(found) == {"change_at_-8", "change_at_4", "change_at_8"}
    for name, response in found.items():
        truth = 0.045 * abs(float(name.removeprefix("change_at_")))
        assert response.effects[0].estimate.low < truth < response.effects[0].estimate.high
    text = " ".join(sentences(answers, None))
    for words in ("The largest main effect on the change at each strength: sampler at -8", "the design is complete, 4"):
        assert words in text


def test_cells_at_chance_are_named(tmp_path: Path):
    question = factorial(tmp_path, THREE, STRENGTHS, "seeds.count=4")
    low = [columns(question, i, start=0.0 if i == 2 else 1.0) for i in range(4)]
    text = " ".join(sentences(FactorialAnswers(question, low), None))
    assert "Not above chance (0.500) without a shift, so flat whatever comes: a, ancestral, low" in text


def test_a_failed_row_is_missing_in_its_cell_alone(tmp_path: Path):
    question = factorial(tmp_path, THREE, STRENGTHS, "seeds.count=10")
    rows = [columns(question, i) for i in range(4)]
    shape = (10, *question.grids[1].inner)
    broken = np.zeros(shape, dtype=bool)
    broken[3, 0, 1, 0] = True
    for name in (TOP1, "clip_score"):
        rows[1][name] = np.where(broken.ravel(), np.nan, rows[1][name])
    rows[1]["drawn"], rows[1]["failed"] = ~broken.ravel(), broken.ravel()
    found = FactorialAnswers(question, rows)
    assert found.slope.cells.n.tolist() == [20, 19, 20, 20]
    assert (found.slope.effects[0].estimate.n, found.slope.effects[0].estimate.n_missing) == (79, 1)
    assert "1 failed" in " ".join(sentences(found, None))


def test_prompts_of_one_seed_are_one_cluster(tmp_path: Path):
    """Twice the rows of the same luck are no more than half of them."""
    shared = answered(factorial(tmp_path, THREE, STRENGTHS, "seeds={count: 30, shared: true}"))
    assert shared.slope.cells.parts.shape == (4, 30)
    assert "robust over 30 clusters" in shared.slope.effects[0].estimate.method


def test_arms_without_factors_are_compared_one_by_one(tmp_path: Path):
    def lost(_: tuple[str, ...], z: float) -> float:
        return 0.02 * z

    question = factorial(tmp_path, COMPARED, "factors={}", STRENGTHS, "seeds.count=60")
    rows = [columns(question, 0), columns(question, 1, lost=lost)]
    steep = [columns(question, 0, lost=lambda _, z: 0.09 * z), rows[1]]
    found = FactorialAnswers(question, steep)
    assert verdict(found).startswith("a falls steepest: the slopes of top-1 accuracy per sigma of shift go from a -0.0")
    (difference,) = found.differences(found.slope)
    assert difference.estimate.value == pytest.approx(0.07, abs=0.015)
    assert "1 of 1 pairs of cells differ in their slope" in " ".join(sentences(found, None))
    assert verdict(FactorialAnswers(question, [rows[1], rows[1]])).startswith("Undecided which falls steepest")


def test_models_side_by_side_have_a_panel_a_metric(tmp_path: Path):
    found = answered(factorial(tmp_path, COMPARED, "factors={}", STRENGTHS, "seeds.count=3"))
    figure = curves(found)
    assert [axis.get_ylabel() for axis in figure.axes] == ["top-1 accuracy", "top-5 accuracy", "CLIP score"]
    assert [line.get_label() for line in figure.axes[0].lines[:2]] == ["a", "b"]
    assert figure.axes[0].lines[0].get_xdata().tolist() == [-8, 0, 4, 8]
    assert rendered(figure, "png").startswith(b"\x89PNG")


def test_prompts_without_labels_are_judged_by_clip(tmp_path: Path):
    prompts = "prompts={kind: list, prompts: [a red ball, a blue box]}"
    found = answered(factorial(tmp_path, prompts, THREE, STRENGTHS, "seeds.count=60"))
    assert verdict(found).startswith(
        "Sampler carries the robustness: from DDIM to ancestral it changes the slope of CLIP"
    )
    assert "the score without a shift by" in " ".join(sentences(found, None))


def test_the_judges_own_loss_is_taken_off(answers: FactorialAnswers):
    """A judge that loses what DDIM's pictures lose leaves nothing of the effect."""
    question = answers.question
    casts = [UNTINTED, *casts_of(answers)]
    assert len(casts) == 1 + 4 * 3
    assert casts[1].red == pytest.approx(-0.48, abs=0.1)
    z = np.array([0.0, *np.concatenate([question.sigmas(c, question.strengths) for c in question.cells])])
    of = [(), *(c.levels for c in question.cells for _ in question.strengths)]
    kept = np.array([1 - fall(levels, s) for levels, s in zip(of, z, strict=True)])
    own = own_slopes(question, (rng(0, "pictures").random(4000) < kept[:, None]).astype(np.float64))
    corrected = answers.less_judge(own)
    assert corrected is not None
    left = corrected.effects[0].estimate
    assert left.low < 0 < left.high
    text = " ".join(sentences(answers, corrected))
    assert "the slope less the judge's own on unbroken pictures with the same tint by" in text


def save_cell(question: Factorial, grid: Grid, number: int) -> None:
    """Store the rows of a cell and everything that was measured on them."""
    store, found = Store(question.spec.store), columns(question, number)
    save_rows(store, grid)
    for measure in question.measures:
        save_measured(store, grid, measure, *(column(found, name, len(grid)) for name in measure.columns))


def column(found: dict[str, np.ndarray], name: str, rows: int) -> np.ndarray | list[object]:
    if name.endswith(("top5", "top5_probability")):
        return [[0]] * rows
    return found.get(name, np.zeros(rows))


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    question = factorial(tmp_path_factory.mktemp("page"), THREE, STRENGTHS, "seeds.count=8")
    for number, grid in enumerate(question.grids):
        save_cell(question, grid, number)
    return report(question, None, None)


def test_the_report_is_whole(asked: Asked):
    text = asked.report.read_text()
    assert addresses(text) == []
    for name in ("effects", "slopes", "curves", "pictures"):
        assert f'id="{name}"' in text
        for kind in ("png", "svg"):
            assert (asked.report.parent / "figures" / f"{name}.{kind}").stat().st_size > 1000
    for heading in ("Every cell", "Every effect on the slope"):
        assert f"<h2>{heading}</h2>" in text


def test_tables_hold_every_interval(asked: Asked):
    found = {name: pd.read_parquet(asked.report.parent / "tables" / f"{name}.parquet") for name in asked.page.tables}
    assert list(found) == ["cells", "curves", "differences", "effects"]
    assert len(found["cells"]) == 4
    assert {"slope_of_top1_correct_low", "break", "sampler", "guidance", "unshifted_top1_correct_n"} <= set(
        found["cells"]
    )
    assert len(found["curves"]) == 4 * 5
    assert len(found["differences"]) == 6 * 4
    slopes = found["effects"].query("response == 'slope' and metric == 'top1_correct'")
    assert slopes["effect"].tolist() == ["sampler", "guidance", "sampler x guidance"]
    assert {"estimate_low", "estimate_high", "estimate_n", "p_holm", "groups", "compares"} <= set(slopes)
    assert slopes["estimate_n"].tolist() == [64] * 3


def test_one_seed_goes_through_every_strength(asked: Asked):
    """Four cells by four strengths in the order of their size, each picture there."""
    question = factorial(asked.report.parents[2], THREE, STRENGTHS, "seeds.count=8")
    names, pictures = gallery(question)
    assert names == [cell.name for cell in question.cells]
    assert set(pictures) == {(row, place) for row in range(4) for place in range(4)}
    first = [int(pictures[0, place][0, 0, 0]) for place in range(4)]
    assert first == [2, 0, 4, 6], "the control is drawn first, but stands between the shifts"


def test_what_is_tracked_has_names_that_mlflow_takes(asked: Asked):
    for name in (*asked.page.curves, *asked.page.numbers):
        assert all(c.isalnum() or c in "._-/ " for c in name), name
    assert "effect/sampler" in asked.page.numbers


def test_a_report_of_some_cells_says_what_there_is(tmp_path: Path):
    question = factorial(tmp_path, SAMPLERS, STRENGTHS, "seeds.count=3", "judge_control=null")
    save_cell(question, question.grids[0], 0)
    found = page(question, None, None)
    assert found.verdict.startswith("Undecided: no two cells")
    assert "0 failed" in " ".join(found.sentences)
