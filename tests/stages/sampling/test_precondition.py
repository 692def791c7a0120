import math

import diffusers
import pytest
import torch

from stages.models.schedules import preconditioning
from stages.sampling.precondition import edm, variance_preserving

X = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
OUTPUT = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("sigma", [0.002, 0.5, 80.0])
def test_edms_coefficients_are_those_of_diffusers(predicts, sigma):
    scheduler = diffusers.EDMEulerScheduler(prediction_type=predicts)
    at = preconditioning(scheduler)(scheduler.precondition_noise(sigma)[0])
    assert at.sigma == pytest.approx(sigma, rel=1e-6)
    torch.testing.assert_close(X / at.size, scheduler.precondition_inputs(X, sigma))
    torch.testing.assert_close(at.skip * X + at.out * OUTPUT, scheduler.precondition_outputs(X, OUTPUT, sigma))


@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("t", [1, 500, 999])
def test_the_clean_prediction_is_that_of_ddim(predicts, t):
    scheduler = diffusers.DDIMScheduler(prediction_type=predicts, clip_sample=False)
    scheduler.set_timesteps(1000)
    at = preconditioning(scheduler)(torch.tensor(t))
    clean = at.skip * at.size * X + at.out * OUTPUT
    torch.testing.assert_close(clean, scheduler.step(OUTPUT, t, X).pred_original_sample, rtol=1e-4, atol=1e-4)


def test_the_right_answer_gives_back_the_clean_picture():
    """Solve D = clean for the network's answer: epsilon, v or EDM's mixture of them."""
    clean, noise, sigma = 0.3, -1.7, 2.5
    x, total = clean + sigma * noise, math.hypot(sigma, 1)
    answers = {"epsilon": noise, "v_prediction": (noise - sigma * clean) / total, "sample": clean}
    for predicts, answer in answers.items():
        at = variance_preserving(sigma, predicts)
        assert at.skip * x + at.out * answer == pytest.approx(clean)


def test_edm_weighs_unit_answers_equally():
    """Karras et al. 2022, Eq. 114 to 119: the input has unit variance and so has the network's target."""
    for sigma in (0.002, 0.5, 80.0):
        at = edm(sigma, 0.5)
        assert at.size == pytest.approx(math.sqrt(sigma**2 + 0.25))
        target = ((1 - at.skip) ** 2 * 0.25 + at.skip**2 * sigma**2) / at.out**2
        assert target == pytest.approx(1.0)


def test_a_flow_has_none():
    with pytest.raises(ValueError, match="no clean prediction is known for a flow"):
        preconditioning(diffusers.FlowMatchEulerDiscreteScheduler())
