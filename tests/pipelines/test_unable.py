"""What a model's files rule out, in the real classes at tiny size."""

import pytest

from pipelines.grid import Grid, Seeds
from pipelines.prompts import Prompt
from pipelines.unable import refuse_unable
from stages.perturbations import ArrangementShift, ChannelShift, Control
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


def grid(model, *perturbations, **sampler):
    prompts, samplers = (Prompt("a cat", -1, "a cat"),), (SamplerSpec(**sampler).canonical(),)
    shifts = tuple(p.canonical() for p in (Control(), *perturbations))
    return Grid(model, "revision", prompts, Seeds(count=1), shifts, samplers)


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


def test_a_perturbation_must_fit_the_latent(folder):
    """The tiny models have 8 x 8 entries: 4 channels as latents, 3 as pixels."""
    fourth = ChannelShift(channel=3, shift=0.5)
    refuse_unable(grid(folder("latent_learned"), fourth))
    with pytest.raises(ValueError, match=r"pixel_text.*: channel_shift expects a channel from 0 to 2 .* channel=3"):
        refuse_unable(grid(folder("pixel_text"), fourth))
    whole = [ArrangementShift(count=count) for count in (8, 64)]
    refuse_unable(grid(folder("pixel_text"), *whole))
    with pytest.raises(ValueError, match="arrangement_shift expects a count up to 64"):
        refuse_unable(grid(folder("pixel_text"), *whole, ArrangementShift(count=65)))
