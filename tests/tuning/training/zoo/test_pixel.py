"""The pixel-space models as they ship: what they draw is what their class says, and their error is no accident."""

from typing import cast

import pytest
import torch

from stages.models.loading import load_generator
from stages.models.spec import ModelSpec
from stages.models.unconditional import LabelledNetwork
from stages.models.zoo import WEIGHTS, card, world
from tuning.training.zoo.measure import load_classifier, predict
from tuning.training.zoo.pixel import draw, enlarged, error


@pytest.fixture(scope="module", params=["pixel-unet", "pixel-transformer"])
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name) -> LabelledNetwork:
    return cast("LabelledNetwork", load_generator(ModelSpec(model=f"zoo:{name}", device="cpu")))


def test_knows_the_classes_and_none(model):
    assert tuple(model.classes) == world.CLASSES
    assert model.null == len(world.CLASSES)
    assert model.latent_shape(None) == (3, 16, 16)


def test_draws_what_its_card_says(model, name):
    pictures, classes = draw(model, 4)
    found = predict(load_classifier(WEIGHTS / "classifier"), enlarged(pictures)) == torch.from_numpy(classes)
    (figure,) = [f for f in card(name).figures if f.name == "object by classifier, 18 Heun steps"]
    assert abs(found.float().mean() - figure.value) < 0.2  # three standard errors of 48 pictures


def test_the_error_is_that_of_the_card(model, name):
    figures = {f.name: f for f in card(name).figures}
    assert error(model, 1.0).value == pytest.approx(figures["loss at sigma 1"].value, rel=0.01)


def test_both_saw_the_same_pictures():
    one, other = (card(name).settings[name] for name in ("pixel-unet", "pixel-transformer"))
    assert one["data"] == other["data"]
