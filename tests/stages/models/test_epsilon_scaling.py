"""Epsilon scaling behind the seam: 1 is the plain sampler, bit for bit; who predicts no epsilon refuses it."""

import diffusers
import pytest
import torch

from stages.models.feasible import noising, refusal
from stages.models.generator import step_noise
from stages.models.schedules import choose, schedule
from stages.sampling import SamplerSpec
from stages.sampling.epsilon_scaling import EpsilonScaling

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, in Euler
SCHEDULERS = ("model", "ddim", "ddpm", "dpmpp", "euler_ancestral", "heun")


def draw(generator, scheduler, **scaling):
    settings = {"epsilon_scaling": scaling} if scaling else {}
    spec = SamplerSpec(scheduler=scheduler, steps=4, guidance=1.0, **settings)
    generator.check(spec)
    x = torch.randn(2, *generator.latent_shape(None), generator=torch.Generator().manual_seed(1))
    return generator.draw(x, [""] * 2, spec, [step_noise(seed) for seed in range(2)])


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_scale_one_is_the_plain_sampler(generator_of, scheduler):
    generator = generator_of("pixel_ddpm")
    plain = draw(generator, scheduler)
    assert torch.equal(draw(generator, scheduler, scale=1.0), plain)
    assert not torch.equal(draw(generator, scheduler, scale=1.05), plain)
    assert not torch.equal(draw(generator, scheduler, slope=0.01), plain)


@pytest.mark.parametrize("scheduler", ["ddpm", "ddim"])
def test_a_learned_variance_is_left_alone(generator_of, scheduler):
    generator = generator_of("latent_learned")
    spec = SamplerSpec(scheduler=scheduler, steps=3, guidance=2.0)
    x = torch.randn(1, *generator.latent_shape(None), generator=torch.Generator().manual_seed(1))
    noise = [step_noise(0)]
    plain = generator.draw(x, ["a"], spec, noise)
    same = generator.draw(x, ["a"], spec.model_copy(update={"epsilon_scaling": EpsilonScaling()}), [step_noise(0)])
    assert torch.equal(same, plain)


def test_the_scheduler_is_told_a_smaller_epsilon(generator_of):
    generator = generator_of("pixel_ddpm")
    plain = SamplerSpec(scheduler="ddim", steps=4, guidance=1.0)
    spec = plain.model_copy(update={"epsilon_scaling": EpsilonScaling(scale=1.25, slope=0.25)})
    x = torch.randn(2, *generator.latent_shape(None), generator=torch.Generator().manual_seed(1))
    steps = schedule(generator.pipe.scheduler, plain, generator.steps(plain), generator.device)
    own, scaled = (generator.prediction([""] * 2, one) for one in (plain, spec))
    for t, factor in zip(steps.timesteps, (2.0, 1.75, 1.5, 1.25), strict=True):
        assert torch.equal(scaled(x, t), own(x, t) / factor)


@pytest.mark.parametrize(
    "own",
    [
        diffusers.DDIMScheduler(prediction_type="v_prediction"),
        diffusers.FlowMatchEulerDiscreteScheduler(),
        diffusers.EDMEulerScheduler(),
        diffusers.LCMScheduler(),
    ],
    ids=lambda own: type(own).__name__,
)
def test_models_that_predict_no_epsilon_refuse(own, tmp_path):
    spec = SamplerSpec(steps=4, epsilon_scaling={"scale": 1.01})
    with pytest.raises(ValueError, match="epsilon_scaling expects a diffusion model that predicts epsilon") as caught:
        choose(own, spec)
    assert "\n" not in str(caught.value)
    own.save_pretrained(tmp_path / "scheduler")
    known = noising(str(tmp_path))
    assert known is not None
    assert "expects a diffusion model that predicts epsilon" in (refusal(known, spec) or "")
    assert refusal(known, SamplerSpec(steps=4)) is None
