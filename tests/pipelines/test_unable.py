"""What a model's files rule out, in the real classes at tiny size."""

import pytest

from pipelines.grid import Grid, Seeds
from pipelines.prompts import Prompt
from pipelines.unable import refuse_unable
from stages.perturbations import Control
from stages.sampling import SamplerSpec
from stages.sampling.upsampling import Upsampling
from tests.stages.models import tiny

SECOND = {"upsampling": Upsampling()}
ZERO = {"scheduler": "ddim", "steps": 5, "terminal_snr": "zero"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = {}

    def save(family):
        if family not in made:
            made[family] = str(tmp_path_factory.mktemp(family))
            tiny.save(family, made[family])
        return made[family]

    return save


def grid(model, **sampler):
    prompts, samplers = (Prompt("a cat", -1, "a cat"),), (SamplerSpec(**sampler).canonical(),)
    return Grid(model, "revision", prompts, Seeds(count=1), (Control().canonical(),), samplers)


@pytest.mark.parametrize(
    ("family", "sampler"),
    [
        ("pixel_text", SECOND),
        ("glide", SECOND),
        ("latent_learned", ZERO | {"spacing": "leading"}),
        ("stable_diffusion_2", ZERO | {"spacing": "trailing"}),
    ],
)
def test_what_a_model_can_run_passes(folder, family, sampler):
    refuse_unable(grid(folder(family), **sampler))


@pytest.mark.parametrize(
    ("family", "sampler", "message"),
    [
        ("latent_learned", SECOND, "has no second stage; leave upsampling out"),
        ("deep_floyd", SECOND, "has no second stage; leave upsampling out"),
        ("latent_learned", ZERO | {"spacing": "trailing"}, "of which an epsilon prediction says nothing"),
    ],
)
def test_what_it_cannot_is_one_sentence(folder, family, sampler, message):
    with pytest.raises(ValueError, match=message) as caught:
        refuse_unable(grid(folder(family), **sampler))
    assert "\n" not in str(caught.value)


def test_the_second_stage_of_deep_floyd_is_in_its_name(folder):
    refuse_unable(grid(f"{folder('deep_floyd')}+{folder('deep_floyd_second')}", **SECOND))
