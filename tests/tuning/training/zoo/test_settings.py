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
    assert lineage(name) == (
        ("classifier", "clip", "upsampler", name) if pixel else ("vae", "classifier", "clip", name)
    )
    assert SETTINGS["upsampler"].images == SHARED.images


def test_what_ships_has_a_text_for_its_card_and_settings():
    assert set(NAMES) <= set(TEXTS) <= set(PARTS) == set(SETTINGS)
    assert set(FACTORS) <= set(TEXTS)
    assert not {"vae", "upsampler"} & set(TEXTS)
