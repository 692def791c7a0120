"""The text-to-image models differ in what their names say, and in nothing else."""

import pytest

from stages.models.zoo import NAMES
from tuning.training.zoo import PARTS, lineage
from tuning.training.zoo.cards import TEXTS
from tuning.training.zoo.settings import SETTINGS, SHARED

FACTORS = {
    "text-to-image": {},
    "latent-learned": {"variance": "learned_range"},
    "pixel-fixed": {"space": "pixel"},
    "pixel-learned": {"space": "pixel", "variance": "learned_range"},
    "glide-like": {"space": "pixel", "variance": "learned_range", "schedule": "cosine"},
}


@pytest.mark.parametrize("name", FACTORS)
def test_a_model_is_the_shared_settings_but_for_its_factors(name):
    found, shared = (dict(spec) for spec in (SETTINGS[name], SHARED))
    assert {field: value for field, value in found.items() if value != shared[field]} == FACTORS[name]


@pytest.mark.parametrize("name", FACTORS)
def test_all_are_built_on_the_same_text_encoder_and_pictures(name):
    """Pixel models have the second stage besides, and no autoencoder."""
    pixel = FACTORS[name].get("space") == "pixel"
    latents = ("vae", "classifier", "clip", "latent-trunk", name)
    assert lineage(name) == (("classifier", "clip", "pixel-trunk", "upsampler", name) if pixel else latents)
    assert SETTINGS["upsampler"].images == SHARED.images


@pytest.mark.parametrize("name", FACTORS)
def test_the_first_steps_of_a_model_are_those_of_its_trunk(name):
    """Same pictures, batches and rate; only the first steps of a model may have another variance or schedule."""
    model = SETTINGS[name]
    trunk = SETTINGS[model.trunk]
    differ = {field for field, value in dict(trunk).items() if value != dict(model)[field]}
    assert differ - {"variance", "schedule"} == {"shared_steps", "loop"}
    assert (trunk.variance, trunk.schedule, trunk.trunk) == (SHARED.variance, SHARED.schedule, None)
    assert trunk.loop.steps == model.shared_steps < model.loop.steps
    assert (trunk.loop.batch, trunk.loop.seed) == (model.loop.batch, model.loop.seed)
    assert all(trunk.loop.rate(step) == model.loop.rate(step) for step in range(model.shared_steps))


def test_what_ships_has_a_text_for_its_card_and_settings():
    assert set(NAMES) <= set(TEXTS) <= set(PARTS) == set(SETTINGS)
    assert set(FACTORS) <= set(TEXTS)
    assert not {"vae", "upsampler", "latent-trunk", "pixel-trunk"} & set(TEXTS)
