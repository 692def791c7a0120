import numpy as np
import pytest

from stages.appearance import Appearance, AppearanceSpec
from stages.base import objects
from tests.stages.models.test_classifiers import pictures


@pytest.fixture
def stage():
    return Appearance(AppearanceSpec())


def flat(colour, size=(20, 30)):
    return np.broadcast_to(np.array(colour, dtype=np.uint8), (*size, 3)).copy()


def test_colours_are_those_of_the_picture(stage):
    (image,) = pictures((20, 30))
    out = stage({"image": objects([image])})
    for number, colour in enumerate(("red", "green", "blue")):
        assert out[f"{colour}_mean"][0] == pytest.approx(image[..., number].mean())
        assert out[f"{colour}_std"][0] == pytest.approx(image[..., number].std())


@pytest.mark.parametrize(("colour", "brightness"), [((0, 0, 0), 0), ((255, 255, 255), 100), ((119, 119, 119), 50)])
def test_brightness_is_cie_lightness(stage, colour, brightness):
    assert stage({"image": objects([flat(colour)])})["brightness"][0] == pytest.approx(brightness, abs=0.1)


@pytest.mark.parametrize(("row", "column"), [(5, 5), (10, 25), (33, 30)])
def test_the_eye_lands_on_the_object(stage, row, column):
    image = flat((128, 128, 128), (40, 40))
    image[row - 2 : row + 3, column - 2 : column + 3] = (255, 0, 0)
    out = stage({"image": objects([image])})
    assert out["saliency_x"][0] == pytest.approx((column + 0.5) / 40, abs=1e-6)
    assert out["saliency_y"][0] == pytest.approx((row + 0.5) / 40, abs=1e-6)


def test_one_colour_has_no_salient_place_and_a_missing_picture_has_nothing(stage):
    out = stage({"image": objects([flat((10, 200, 30)), None])})
    assert np.isnan([out["saliency_x"], out["saliency_y"]]).all()
    assert out["green_mean"][0] == 200
    assert all(np.isnan(out[name][1]) for name in stage.writes)


def test_a_row_depends_on_itself_alone(stage):
    images = objects(pictures((20, 30), (16, 16), (20, 30)))
    whole = stage({"image": images})
    for row in range(3):
        alone = stage({"image": images[[row]]})
        assert all(alone[name][0] == whole[name][row] for name in stage.writes)
