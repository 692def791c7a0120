"""What files rule out is what loading rules out."""

from itertools import product
from pathlib import Path

import diffusers
import pytest

from stages.models.feasible import NAMED, RESCALING, UNABLE, Noising, noising, refusal
from stages.models.schedules import CLASSES, choose
from stages.sampling import SamplerSpec
from tests.stages.models.tiny import save

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, in Euler
OWN = [
    diffusers.DDIMScheduler(clip_sample=False, steps_offset=1),
    diffusers.DDIMScheduler(prediction_type="v_prediction"),
    diffusers.DDPMScheduler(variance_type="learned_range", timestep_spacing="linspace"),
    diffusers.PNDMScheduler(),
    diffusers.DDIMScheduler(num_train_timesteps=100, timestep_spacing="trailing"),
]


def test_names_are_those_of_diffusers():
    assert {name: CLASSES[name].__name__ for name in NAMED} == NAMED
    assert set(NAMED.values()) == {*RESCALING, *UNABLE}


@pytest.mark.parametrize("own", OWN, ids=lambda own: f"{type(own).__name__}-{own.config.prediction_type}")
def test_files_refuse_what_loading_refuses(own, tmp_path: Path):
    folder = tmp_path / "model" / "scheduler"
    own.save_pretrained(folder)
    known, loaded = noising(str(tmp_path / "model")), type(own).from_pretrained(folder)
    assert known is not None
    for scheduler, spacing, steps in product(("model", *NAMED), ("model", "leading", "trailing", "linspace"), (5, 50)):
        sampler = SamplerSpec(scheduler=scheduler, spacing=spacing, steps=steps, terminal_snr="zero")
        assert (refusal(known, sampler) is not None) == raises(loaded, sampler), sampler


def raises(own: object, sampler: SamplerSpec) -> bool:
    try:
        choose(own, sampler)
    except ValueError:
        return True
    return False


def test_a_schedule_as_trained_is_never_refused():
    assert refusal(Noising("PNDMScheduler"), SamplerSpec()) is None
    assert refusal(Noising("DDIMScheduler", spacing="trailing"), SamplerSpec()) is None


def test_learned_variances_are_known(tmp_path: Path):
    for family, learned in (("latent_learned", True), ("glide", True), ("stable_diffusion_2", False)):
        save(family, str(tmp_path / family))
        found = noising(str(tmp_path / family))
        assert found is not None
        assert found.learned is learned


def test_a_folder_that_says_nothing_is_not_known(tmp_path: Path):
    assert noising(str(tmp_path)) is None
