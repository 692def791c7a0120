"""The page about trajectories: on Gaussian data every number has a closed form."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pipelines.ask import report
from pipelines.trajectory_answers import TrajectoryAnswers
from pipelines.trajectory_page import listed, verdict
from stages.sampling.contraction import contraction_along
from tests.pages import addresses
from tests.pipelines.trajectories import NAMES, SHAPE, STEPS, VP, covariance, draw, trajectory

ENTRIES = SHAPE[1] * SHAPE[2]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory):
    question = trajectory(tmp_path_factory.mktemp("page"))
    return question, draw(question), report(question, None, None)


def visited() -> list[float]:
    VP.set_timesteps(STEPS)
    return [*VP.alphas_cumprod[VP.timesteps].double().tolist(), 1.0]


def test_a_shift_contracts_as_the_closed_form_says(asked):
    """The channel means of the Gaussian vary together; a mean shift goes along all of them."""
    answers = TrajectoryAnswers(asked[0])
    means = covariance().numpy().reshape(SHAPE[0], ENTRIES, SHAPE[0], ENTRIES).mean(axis=(1, 3)) * ENTRIES
    for arm, eta in enumerate((0.0, 1.0)):
        expected = contraction_along(visited(), means, np.ones(SHAPE[0]), eta)
        for number in (1, 2):
            found = answers.curve(answers.cells[arm, number].left)
            np.testing.assert_allclose([e.value for e in found], expected, rtol=1e-3)
        table = asked[2].page.tables["contraction"]
        table = table[table["arm"].eq(NAMES[arm]) & table["family"].eq("uniform_mean_shift")]
        np.testing.assert_allclose(table["left"], np.tile(expected, 2), rtol=1e-3)


def test_the_reference_is_of_the_measured_channel_means(asked):
    question, batches, _ = asked
    answers = TrajectoryAnswers(question)
    np.testing.assert_allclose(answers.signal(0), visited(), rtol=1e-5)
    for arm, batch in enumerate(batches):
        unshifted = [n for n, text in enumerate(batch["perturbation"]) if "none" in text]
        ends = np.stack([batch["channel_z"][n][-1] for n in unshifted])
        np.testing.assert_allclose(answers.covariance(arm), np.cov(ends.T), rtol=1e-4)
        reference = answers.reference(arm, 2)
        expected = contraction_along(visited(), np.cov(ends.T), np.ones(3), float(arm))
        np.testing.assert_allclose(reference, expected, rtol=1e-4)
    assert answers.reference(1, 4)[-1] == pytest.approx(np.sqrt(visited()[0]), rel=1e-4)


def test_the_control_is_at_no_distance_from_itself_and_shares_sum_to_one(asked):
    answers = TrajectoryAnswers(asked[0])
    for arm in range(2):
        assert (answers.cells[arm, 0].apart == 0).all()
        assert answers.value("left", arm, 0).n == 0
        np.testing.assert_allclose(answers.cells[arm, 0].shares.mean(axis=1), 1)
    steps = asked[2].page.tables["steps"]
    np.testing.assert_allclose(steps.groupby(["arm", "perturbation"])["share"].mean(), 1)


def test_step_lengths_are_those_of_the_rows(asked):
    question, batches, done = asked
    summary = done.page.tables["summary"]
    for arm, batch in zip(NAMES, batches, strict=True):
        rows = [n for n, text in enumerate(batch["perturbation"]) if "none" in text]
        first = [batch["step_distance"][n][0] / batch["step_distance"][n].mean() for n in rows]
        (row,) = summary[summary["arm"].eq(arm) & summary["strength"].eq(0)].to_dict("records")
        assert row["first_step"] == pytest.approx(np.mean(first), rel=1e-5)
        assert row["first_step_n"] == question.spec.seeds.count == 12
        assert row["first_step_low"] < row["first_step"] < row["first_step_high"]


def test_arms_are_compared_row_by_row(asked):
    answers = TrajectoryAnswers(asked[0])
    one, other = (answers.cells[arm, 0].shares[:, 0] for arm in range(2))
    gap = answers.to_first_arm("first_step", 1, 0)
    assert (gap.value, gap.n) == (pytest.approx((other - one).mean()), 12)
    assert answers.to_first_arm("left", 1, 2).high < 0
    beside = answers.to_random(0, 2)
    assert beside.value == pytest.approx((answers.cells[0, 2].left[:, -1] - answers.cells[0, 4].left[:, -1]).mean())
    assert answers.to_random(0, 4) is None


def test_the_verdict_names_what_grows_and_what_is_forgotten(asked):
    page = asked[2].page
    assert page.verdict.startswith("The first step of ddim carries ")
    assert "a mean shift of 0.8 " in page.verdict
    assert "grows under ddpm (" in page.verdict
    assert " of it left) and ddim (" in page.verdict
    assert any("Gaussian data whose channel means vary" in sentence for sentence in page.sentences)
    assert "120 of 120 trajectories were recorded, 0 are missing." in page.sentences


def test_of_many_arms_the_ends_are_named():
    assert listed(["a", "b"]) == "a and b"
    assert listed(["a", "b", "c"]) == "3 arms, from a to c"


def test_nothing_recorded_is_undecided(tmp_path: Path):
    assert verdict(TrajectoryAnswers(trajectory(tmp_path))) == "Undecided: no trajectory was recorded."


def test_seeds_that_prompts_share_are_clusters(tmp_path: Path):
    classes = "prompts={kind: list, prompts: ['a', 'b']}"
    shared = trajectory(tmp_path, "seeds={count: 12, shared: true}", "pilot=null", "prompts={kind: none}")
    assert TrajectoryAnswers(shared).clusters is None
    arms = "arms=[{name: x, model: 'zoo:text-to-image', sampler: {scheduler: ddim}}]"
    two = TrajectoryAnswers(trajectory(tmp_path, arms, classes, "seeds={count: 3, shared: true}", "pilot=null"))
    assert two.clusters.tolist() == [0, 0, 1, 1, 2, 2]
    rows = np.repeat(np.array([1.0, 2.0, 4.0]), 2)
    assert "clusters" in two.mean(rows).method


def test_the_report_is_whole_and_made_again_as_it_was(asked):
    question, _, done = asked
    folder = done.report.parent
    text = done.report.read_text()
    assert addresses(text) == []
    files = [folder / "figures" / f"{name}.png" for name in ("steps", "contraction", "left", "plane", "strips")]
    files += [folder / "tables" / f"{name}.parquet" for name in ("summary", "steps", "contraction")]
    before = [file.read_bytes() for file in files]
    assert all(len(data) > 1000 for data in before)
    report(question, None, None)
    assert [file.read_bytes() for file in files] == before
    assert done.report.read_text().split("How it was made")[0] == text.split("How it was made")[0]


def test_without_a_pilot_there_is_neither_plane_nor_strip(tmp_path: Path):
    question = trajectory(tmp_path, "pilot=null", "seeds.count=3")
    draw(question)
    names = [picture.name for picture in report(question, None, None).page.pictures]
    assert names == ["steps", "contraction", "left"]
    assert not (tmp_path / "runs" / "store" / "planes").exists()


def test_tracked_curves_run_to_the_end_of_the_steps(asked):
    for points in asked[2].page.curves.values():
        assert max(points) == pytest.approx(1)
        assert all(a < b for a, b in pairwise(points))
