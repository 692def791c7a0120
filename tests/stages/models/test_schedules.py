import math

import diffusers
import pytest
import torch

from stages.models.schedules import CLASSES, DiffusersSchedule, choose, learns_variance, schedule
from stages.sampling import SamplerSpec
from stages.sampling.heun import Heun
from stages.sampling.inverse import FollowedSchedule
from stages.sampling.spec import FOLLOWING

EPSILON = diffusers.PNDMScheduler()
FLOW = diffusers.FlowMatchEulerDiscreteScheduler()
LCM = diffusers.LCMScheduler()
EDM = diffusers.EDMEulerScheduler()
V = diffusers.DDIMScheduler(prediction_type="v_prediction", clip_sample=False)
ZERO = "at zero terminal SNR the first step, 999, is pure noise, of which an epsilon prediction says nothing"

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, in Euler


def test_every_named_scheduler_has_its_class():
    names = SamplerSpec.model_fields["scheduler"].annotation.__args__
    assert set(names) == {"model", *CLASSES}


@pytest.mark.parametrize("name", ["ddim", "ddpm"])
def test_latents_are_not_clipped(name):
    assert not choose(EPSILON, SamplerSpec(scheduler=name)).config.clip_sample


def test_a_models_own_clipping_stays():
    own = diffusers.DDPMScheduler(clip_sample=True)
    assert choose(own, SamplerSpec(scheduler="ddim")).config.clip_sample


@pytest.mark.parametrize(
    ("own", "settings", "message"),
    [
        (EPSILON, {"scheduler": "flow_euler"}, "'flow_euler' cannot run a model that predicts epsilon"),
        (FLOW, {"scheduler": "ddim"}, "'ddim' cannot run a model that predicts a flow .*; use 'model' or 'flow_euler'"),
        (FLOW, {"scheduler": "heun"}, "'heun' cannot run a model that predicts a flow .*; use 'model' or 'flow_euler'"),
        (EDM, {"scheduler": "ddim"}, "a model that is of EDM .*; use 'model' or 'heun' or 'edm_euler' or 'edm_dpmpp'"),
        (EPSILON, {"scheduler": "edm_dpmpp"}, "'edm_dpmpp' cannot run a model that predicts epsilon"),
        (LCM, {"steps": 51}, "at most 50 steps, but steps=51"),
        (EPSILON, {"scheduler": "lcm", "steps": 60}, "at most 50 steps, but steps=60"),
        (EPSILON, {"steps": 3}, "PNDM of this model warms up over 4 steps, but steps=3"),
        (EPSILON, {"scheduler": "ddim", "terminal_snr": "zero", "spacing": "trailing"}, ZERO),
        (EPSILON, {"scheduler": "euler", "terminal_snr": "zero", "spacing": "linspace"}, ZERO),
        (diffusers.DDPMScheduler(rescale_betas_zero_snr=True, timestep_spacing="trailing"), {}, ZERO),
        (EPSILON, {"terminal_snr": "zero"}, "PNDMScheduler has no rescale_betas_zero_snr"),
        (EDM, {"spacing": "trailing"}, "EDMEulerScheduler has no timestep_spacing; leave spacing"),
        (LCM, {"spacing": "trailing"}, "LCMScheduler has no timestep_spacing"),
        (diffusers.DDPMScheduler(num_train_timesteps=100), {"steps": 101}, "at most 100 steps, but steps=101"),
    ],
    ids=str,
)
def test_what_cannot_run_is_refused_in_one_sentence(own, settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        choose(own, SamplerSpec(**settings))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("own", "name", "kind"),
    [
        (EDM, "heun", Heun),
        (EDM, "edm_euler", DiffusersSchedule),
        (EDM, "edm_dpmpp", DiffusersSchedule),
        (EPSILON, "heun", DiffusersSchedule),
    ],
)
def test_heuns_method_is_ours_for_edm_alone(own, name, kind):
    spec = SamplerSpec(scheduler=name, steps=5)
    made = schedule(own, spec, {"num_inference_steps": 5}, torch.device("cpu"))
    assert type(made) is kind
    assert len(made.timesteps) == (9 if name == "heun" else 5)


@pytest.mark.parametrize(("own", "name"), [(EPSILON, "ddim"), (EPSILON, "euler"), (EDM, "edm_euler")])
def test_what_can_follow_a_measurement_ends_in_a_clean_state(own, name):
    assert name in FOLLOWING
    made = schedule(own, SamplerSpec(scheduler=name, steps=5), {"num_inference_steps": 5}, torch.device("cpu"))
    assert isinstance(made, FollowedSchedule)
    growth = [made.growth(number) for number in range(5)]
    assert growth == sorted(growth, reverse=True)
    assert growth[-1] == 1.0


@pytest.mark.parametrize(("own", "spacing"), [(V, "trailing"), (V, "linspace"), (EPSILON, "leading")], ids=str)
@pytest.mark.parametrize("name", ["ddim", "ddpm"])
def test_zero_terminal_snr_where_the_model_can_start(own, spacing, name):
    """arXiv:2305.08891: at the last training step nothing of the picture is left, where the steps reach it."""
    spec = SamplerSpec(scheduler=name, steps=20, terminal_snr="zero", spacing=spacing)
    scheduler = choose(own, spec)
    assert scheduler.alphas_cumprod[-1] == 0
    made = schedule(own, spec, {"num_inference_steps": 20}, torch.device("cpu"))
    x, noise = torch.ones(1, 4, 2, 2), [torch.Generator()]
    for t in made.timesteps:
        x = made.step(0.1 * x, t, x, noise)
    assert x.isfinite().all()
    assert (made.timesteps[0] == 999) == (spacing != "leading")


def test_a_learned_variance_is_used_by_ddpm_alone_and_dpm_solver_is_not_told_of_it():
    own = diffusers.DDPMScheduler(variance_type="learned_range", clip_sample=False)
    learning = [
        name
        for name in CLASSES
        if name[:3] not in ("edm", "flo") and learns_variance(choose(own, SamplerSpec(scheduler=name)))
    ]
    assert learning == ["ddpm"]
    assert choose(own, SamplerSpec(scheduler="dpmpp")).config.variance_type is None


@pytest.mark.parametrize("schedule_of", ["squaredcos_cap_v2", "scaled_linear"])
def test_dpm_solver_bounds_the_clean_prediction_as_the_models_own_scheduler_does(schedule_of):
    """An error of the network is divided by what is left of the picture: unbounded, the first steps saturate."""
    own = diffusers.DDPMScheduler(clip_sample=True, beta_schedule=schedule_of)
    made = schedule(own, SamplerSpec(scheduler="dpmpp", steps=10), {"num_inference_steps": 10}, torch.device("cpu"))
    t, x = made.timesteps[0], torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    made.step(0.9 * x, t, x, [torch.Generator()])
    (said,) = made.scheduler.model_outputs[-1:]
    assert said.abs().max() == 1.0
    torch.testing.assert_close(said, made.clean(x, 0.9 * x, t).clamp(-1, 1), rtol=1e-3, atol=1e-4)


def test_dpm_solver_leaves_latents_unbounded():
    assert not choose(EPSILON, SamplerSpec(scheduler="dpmpp")).config.thresholding


def test_dpm_solver_leaves_out_the_steps_at_which_a_cosine_schedule_is_pure_noise():
    own = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    made = schedule(own, SamplerSpec(scheduler="dpmpp", steps=10), {"num_inference_steps": 10}, torch.device("cpu"))
    log_snr = [-math.log(made.coefficients(t).sigma) for t in made.timesteps]
    assert log_snr == sorted(log_snr)
    assert -5.1 <= log_snr[0] < -4.9


@pytest.mark.parametrize("name", ["model", "ddim", "ddpm", "pndm", "euler", "euler_ancestral", "dpmpp", "lcm", "heun"])
def test_growth_is_the_size_of_the_state_beside_the_variance_preserving_one(name):
    """Noise alone: in its own unit the state's deviation is that of clean + sigma noise, or 1."""
    spec = SamplerSpec(scheduler=name, steps=10)
    made = schedule(EPSILON, spec, {"num_inference_steps": 10}, torch.device("cpu"))
    x = made.start(torch.ones(1, 1, 1, 1))
    assert x.item() == pytest.approx(made.growth(-1), rel=0.02)
    assert made.growth(len(made.timesteps) - 1) == pytest.approx(1.0, abs=0.01)
