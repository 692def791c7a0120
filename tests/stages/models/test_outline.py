"""Outlines: what a folder's settings say is what the loaded model does."""

import pytest

from stages.models.loading import load_generator
from stages.models.outline import draws_noise, outline
from stages.models.spec import ModelSpec
from stages.sampling import SamplerSpec
from tests.stages.models.tiny import CLASSES, FAMILIES, save


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shape_is_that_of_the_loaded_model(family: str, folder_of, generator_of):
    generator = generator_of(family)
    known = outline(folder_of(family))
    assert known.scheduler == type(generator.pipe.scheduler).__name__
    assert known.classes == (tuple(CLASSES[family]) if family in CLASSES else None)
    shape = known.latent_shape(None)
    assert shape == generator.latent_shape(None) or (shape is None and "flux" in family)
    side = 4 * generator.latent_shape(None)[1] * known.pixels
    assert known.latent_shape(side) == generator.latent_shape(side)


@pytest.mark.parametrize("family", FAMILIES)
def test_models_of_texts_are_known(family: str, folder_of, generator_of):
    assert outline(folder_of(family)).text == bool(generator_of(family).tokenizers())


def test_analytic_models_have_the_shape_of_their_pictures(tmp_path):
    import torch

    from stages.models.analytic.empirical import Empirical
    from stages.models.analytic.files import save as save_analytic
    from stages.models.analytic.gaussian import Gaussian

    models = [Gaussian(torch.zeros(3, 2, 2), torch.eye(12)), Empirical(torch.zeros(5, 3, 4, 4))]
    for number, model in enumerate(models):
        save_analytic(model, tmp_path / str(number))
        known = outline(str(tmp_path / str(number)))
        assert known.latent_shape(None) == load_generator(ModelSpec(model=str(tmp_path / str(number)))).latent_shape(
            None
        )
        assert not draws_noise(str(tmp_path / str(number)), SamplerSpec())


@pytest.mark.parametrize(
    ("settings", "noisy"),
    [
        ({"scheduler": "ddim"}, False),
        ({"scheduler": "ddim", "eta": 0.1}, True),
        ({"scheduler": "ddpm"}, True),
        ({"scheduler": "euler_ancestral"}, True),
        ({"scheduler": "lcm"}, True),
        ({"scheduler": "dpmpp"}, False),
        ({"scheduler": "heun"}, False),
    ],
)
def test_samplers_that_draw_noise_are_known(settings: dict, noisy: bool):
    assert draws_noise("zoo:text-to-image", SamplerSpec(**settings)) == noisy


def test_a_models_own_sampler_is_looked_up(tmp_path):
    for family, noisy in (("pixel_ddpm", True), ("pixel_unet", False), ("latent_consistency", True)):
        save(family, str(tmp_path / family))
        assert draws_noise(str(tmp_path / family), SamplerSpec(scheduler="model")) == noisy
