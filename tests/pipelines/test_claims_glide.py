"""Claims on GLIDE: statistics on rows whose truth is planted, and the arms that they name."""

from pathlib import Path

import pytest

from pipelines.claims import CLAIMS, glide
from pipelines.claims.glide import GLIDE, GUIDED, LATENT_GLIDE, UNGUIDED, Models, effect, first_step, lead
from pipelines.config import load
from pipelines.factorial import FactorialSpec
from pipelines.factorial_answers import FactorialAnswers
from pipelines.trajectory import TrajectorySpec
from pipelines.trajectory_answers import TrajectoryAnswers
from stages.metrics import Estimate
from tests.pipelines.test_factorial import factorial
from tests.pipelines.test_factorial_page import STRENGTHS, THREE, answered, columns
from tests.pipelines.trajectories import draw, trajectory

LOSSES = {GUIDED: 0.04, UNGUIDED: 0.11, GLIDE: 0.0, LATENT_GLIDE: 0.03}
"""Of top-1, per sigma of shift."""


def covers(found: Estimate, truth: float) -> bool:
    return found.low <= truth <= found.high


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    arms = [
        f"{{model: 'zoo:text-to-image', name: {name}, sampler: {{scheduler: ddim, steps: {steps}}}}}"
        for steps, name in enumerate(LOSSES, start=3)
    ]
    folder = tmp_path_factory.mktemp("models")
    question = factorial(folder, f"arms=[{', '.join(arms)}]", "factors={}", STRENGTHS, "seeds.count=80")
    parts = [
        columns(question, number, lost=lambda _, z, name=cell.name: LOSSES[name] * z)
        for number, cell in enumerate(question.cells)
    ]
    return Models(FactorialAnswers(question, parts))


def test_slopes_of_models_are_compared(models: Models):
    assert covers(models.slope({UNGUIDED: 1.0, GUIDED: -1.0}), -0.07)
    assert covers(models.slope({LATENT_GLIDE: 1.0, GUIDED: -1.0}), 0.01)
    assert models.slope({GLIDE: 1.0, GUIDED: -1.0}).low > 0


def test_the_ends_are_the_largest_shifts_to_both_sides(models: Models):
    """At 8 sigma to either side the unguided model has lost 0.88 of its accuracy, and the flat one nothing."""
    assert covers(models.at_ends(UNGUIDED, change=True), -0.88)
    assert covers(models.at_ends(UNGUIDED, change=False), 0.12)
    assert models.at_ends(GLIDE, change=True).value == 0
    assert models.at_ends(GLIDE, change=False).value == 1


def test_models_are_compared_without_a_shift(models: Models):
    assert models.unshifted({GUIDED: 1.0, GLIDE: -1.0}).value == 0


def test_a_model_that_is_not_there_is_named(models: Models):
    with pytest.raises(ValueError, match="expected an arm 'SDXL', found guided, unguided, GLIDE-like, latent-GLIDE"):
        models.slope({"SDXL": 1.0})


def test_the_lead_of_a_factor_is_against_the_largest_other_one(tmp_path: Path):
    answers = answered(factorial(tmp_path, THREE, STRENGTHS, "seeds.count=60"))
    assert covers(effect(answers, "sampler"), 0.045)
    ahead, behind = lead(answers, "sampler"), lead(answers, "guidance")
    assert ahead.low > 0
    assert (behind.low, behind.value, behind.high) == (-ahead.high, -ahead.value, -ahead.low)


def test_first_steps_are_compared_row_by_row(tmp_path: Path):
    question = trajectory(tmp_path)
    draw(question)
    answers = TrajectoryAnswers(question)
    ddim, ddpm = (first_step(answers, arm) for arm in ("ddim", "ddpm"))
    assert first_step(answers, "ddpm", less="ddim").value == pytest.approx(ddpm.value - ddim.value)
    assert first_step(answers, "ddim", less="ddim").value == 0
    assert ddpm.value > 1 > ddim.value


def test_the_configs_have_the_arms_and_factors_that_claims_name():
    models = {arm.called for arm in load(FactorialSpec, glide.MODELS, ()).arms}
    assert models >= {GUIDED, UNGUIDED, GLIDE, LATENT_GLIDE}
    steps = {arm.called for arm in load(TrajectorySpec, glide.STEPS, ()).arms}
    assert steps >= {glide.DDIM, glide.ANCESTRAL, GLIDE, LATENT_GLIDE}
    assert all(glide.VARIANCE in arm.levels for arm in load(FactorialSpec, glide.FACTORS, ()).arms)
    assert {claim.config for claim in glide.CLAIMS} == {glide.MODELS, glide.FACTORS, glide.STEPS}
    assert set(CLAIMS) >= {claim.name for claim in glide.CLAIMS}
