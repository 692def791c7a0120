"""Learned-range variance, against diffusers' fixed ones and against its own bounds."""

import diffusers
import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from stages.sampling.loop import guided
from stages.sampling.variance import Bounds, bounds, check_outputs, guided_mean, log_variance

SCHEDULES = [
    {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    {"beta_schedule": "squaredcos_cap_v2"},
    {"beta_schedule": "linear"},
]
RESPACINGS = [1000, 100, 27]


def kept(settings, steps, **more):
    """A scheduler of diffusers whose steps are set, and alpha-bar of the steps that it visits, first step first."""
    scheduler = diffusers.DDPMScheduler(**settings, timestep_spacing="linspace", **more)
    scheduler.set_timesteps(steps)
    return scheduler, scheduler.alphas_cumprod[scheduler.timesteps.flip(0)].double()


def by_row(signal):
    return Bounds(*(bound[:, None, None, None] for bound in bounds(signal)))


@pytest.mark.parametrize("steps", RESPACINGS)
@pytest.mark.parametrize("settings", SCHEDULES, ids=lambda s: s["beta_schedule"])
class TestBounds:
    @pytest.mark.parametrize(("v", "fixed"), [(-1.0, "fixed_small"), (1.0, "fixed_large")])
    def test_its_ends_are_the_fixed_variances_of_diffusers(self, settings, steps, v, fixed):
        """Ours and diffusers' learned range, both, at every step of the respaced schedule but the first."""
        theirs, signal = kept(settings, steps, variance_type=fixed)
        ours = log_variance(torch.full((steps, 1, 1, 1), v), by_row(signal))
        learned, _ = kept(settings, steps, variance_type="learned_range")
        for number, t in list(enumerate(theirs.timesteps.flip(0)))[1 :: max(steps // 20, 1)]:
            expected = theirs._get_variance(t).double()
            torch.testing.assert_close(ours[number].exp().squeeze(), expected, rtol=2e-3, atol=0)
            found = learned._get_variance(t, predicted_variance=torch.tensor(v)).exp().double()
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)

    @hypothesis.settings(max_examples=15)
    @given(share=st.floats(-1, 1))
    def test_between_its_ends_it_stays_between_them(self, settings, steps, share):
        _, signal = kept(settings, steps)
        between = by_row(signal)
        variance = log_variance(torch.full((len(signal), 1, 1, 1), share, dtype=torch.float64), between)
        assert (variance >= between.small - 1e-12).all()
        assert (variance <= between.large + 1e-12).all()
        assert (between.small[1:] < between.large[1:]).all()


@pytest.mark.parametrize(("v", "fixed"), [(-1.0, "fixed_small"), (1.0, "fixed_large")])
def test_a_step_at_either_end_is_the_step_with_that_fixed_variance(v, fixed):
    x, epsilon = (torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(n)) for n in (0, 1))
    learned, _ = kept(SCHEDULES[0], 50, variance_type="learned_range", clip_sample=False)
    theirs, _ = kept(SCHEDULES[0], 50, variance_type=fixed, clip_sample=False)
    for t in (learned.timesteps[0], learned.timesteps[30], learned.timesteps[-1]):
        ours, expected = (
            scheduler.step(output, t, x, [torch.Generator().manual_seed(n) for n in range(2)]).prev_sample
            for scheduler, output in ((learned, torch.cat([epsilon, torch.full_like(x, v)], 1)), (theirs, epsilon))
        )
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


class TwoAnswers:
    """A network whose answer tells its branch: epsilon and v are the condition's."""

    def predict(self, x, t, condition):  # noqa: ARG002
        return condition["answer"].expand(len(x), 2 * x.shape[1], *x.shape[2:])


@pytest.mark.parametrize(("scale", "mean", "v"), [(0.0, 1.0, -1.0), (1.0, 3.0, 0.5), (7.5, 16.0, 0.5), (0.5, 2.0, 0.5)])
def test_the_mean_is_guided_and_the_variance_is_that_of_the_prompt(scale, mean, v):
    def answer(epsilon, v):
        return {"answer": torch.tensor([epsilon, epsilon, v, v]).view(1, 4, 1, 1)}

    x = torch.zeros(1, 2, 3, 3)
    out = guided(TwoAnswers(), answer(3.0, 0.5), answer(1.0, -1.0), scale)(x, torch.tensor(5))
    assert (out[:, :2] == mean).all()
    assert (out[:, 2:] == v).all()


def test_a_network_without_variance_is_guided_as_before():
    a, b = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(guided_mean(a, b, 7.5, 4), a + 7.5 * (b - a))


@pytest.mark.parametrize(
    ("channels", "outputs", "variance"),
    [(4, 4, None), (4, 8, None), (4, 4, "fixed_small"), (4, 8, "learned_range"), (3, 6, "learned")],
)
def test_outputs_that_fit_their_scheduler(channels, outputs, variance):
    check_outputs("Model", channels, outputs, variance)


@pytest.mark.parametrize(
    ("channels", "outputs", "variance", "wanted"),
    [(4, 4, "learned_range", "8"), (4, 8, "fixed_large", "4"), (4, 7, None, "4 or 8"), (3, 3, "learned", "6")],
)
def test_outputs_that_do_not_fit_their_scheduler(channels, outputs, variance, wanted):
    with pytest.raises(ValueError, match=f"must answer with {wanted} channels, but answers with {outputs}") as caught:
        check_outputs("Model", channels, outputs, variance)
    assert "\n" not in str(caught.value)
