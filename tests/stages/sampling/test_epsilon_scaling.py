import pytest
import torch
from pydantic import ValidationError

from stages.sampling import SamplerSpec, parse
from stages.sampling.epsilon_scaling import UNSCALED, EpsilonScaling
from stages.sampling.loop import scaled


def test_lambda_counts_the_steps_before_the_last():
    """At 20 steps with the paper's slope: from 1 to 1.0475."""
    scaling = EpsilonScaling(scale=1.0, slope=0.0025)
    assert [scaling.factor(step) for step in (0, 1, 19)] == pytest.approx([1.0, 1.0025, 1.0475])


def test_epsilon_is_divided_and_a_learned_variance_stays():
    times = torch.tensor([800, 800, 400, 0])  # a method that asks twice at one time
    divided = scaled(lambda x, _: torch.ones(len(x), 6, 2, 2), EpsilonScaling(scale=1.25, slope=0.25), times)
    x = torch.zeros(1, 3, 2, 2)
    for t, factor in zip(times, (1.75, 1.75, 1.5, 1.25), strict=True):
        output = divided(x, t)
        torch.testing.assert_close(output[:, :3], torch.full_like(x, 1 / factor))
        torch.testing.assert_close(output[:, 3:], torch.ones_like(x))


def test_samplers_without_it_keep_their_ids():
    assert "epsilon" not in SamplerSpec().canonical()
    spec = SamplerSpec(scheduler="ddpm", epsilon_scaling=EpsilonScaling(scale=1.017))
    assert parse(spec.canonical()) == spec
    assert SamplerSpec(epsilon_scaling=EpsilonScaling()).canonical() != SamplerSpec().canonical()


@pytest.mark.parametrize("settings", [{"scale": 0}, {"scale": -1}, {"slope": -0.1}, {"scales": 1}], ids=str)
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        EpsilonScaling(**settings)


@pytest.mark.parametrize("scheduler", UNSCALED)
def test_schedulers_without_epsilon_are_refused(scheduler):
    with pytest.raises(ValidationError, match="expected a scheduler that is told the noise"):
        SamplerSpec(scheduler=scheduler, epsilon_scaling={})
