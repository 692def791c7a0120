import diffusers
import pytest

from stages.models.schedules import CLASSES, choose
from stages.sampling import SamplerSpec

EPSILON = diffusers.PNDMScheduler()
FLOW = diffusers.FlowMatchEulerDiscreteScheduler()
LCM = diffusers.LCMScheduler()


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
