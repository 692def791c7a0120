import diffusers
import pytest
import torch

from stages.models.schedules import CLASSES, DiffusersSchedule, choose, schedule
from stages.sampling import SamplerSpec
from stages.sampling.heun import Heun
from stages.sampling.inverse import FollowedSchedule
from stages.sampling.spec import FOLLOWING

EPSILON = diffusers.PNDMScheduler()
FLOW = diffusers.FlowMatchEulerDiscreteScheduler()
LCM = diffusers.LCMScheduler()
EDM = diffusers.EDMEulerScheduler()

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
