import numpy as np
import pytest

from stages.base import objects
from stages.embed import Embed, EmbedSpec
from tests.stages.models.descriptors.tiny import pictures, save_descriptor


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_descriptor(tmp_path_factory.mktemp("descriptor"))


@pytest.fixture(scope="module")
def stage(folder):
    return Embed(EmbedSpec(model=str(folder), batch=4, threads=1))


@pytest.fixture
def rows():
    return {"image": objects([*pictures(*[(32, 32, 3)] * 4, (20, 50, 3)), None])}


def test_it_is_the_descriptors_vector(stage, rows):
    out = stage(rows)
    expected = stage.descriptor.embed(list(rows["image"][:5]))
    for row in range(5):
        np.testing.assert_array_equal(out["embedding"][row], expected[row])
        assert out["embedding"][row].dtype == np.float32


def test_without_a_picture_there_is_no_vector(stage, rows):
    assert stage(rows)["embedding"][5] is None
    assert stage({"image": objects([None, None])})["embedding"].tolist() == [None, None]


def test_a_row_depends_on_itself_alone(stage, rows):
    whole, order = stage(rows)["embedding"], [4, 2, 0, 5, 1, 3]
    shuffled = stage({"image": rows["image"][order]})["embedding"]
    for place, row in enumerate(order):
        (alone,) = stage({"image": rows["image"][[row]]})["embedding"]
        np.testing.assert_array_equal(shuffled[place], whole[row])
        np.testing.assert_array_equal(alone, whole[row])


def test_two_descriptors_have_columns_of_their_own(stage, rows):
    pixels = Embed(EmbedSpec(model="pixels:4", prefix="pixels_"))
    assert pixels.columns(pixels.spec) == (("image",), ("pixels_embedding",))
    assert pixels(stage(rows))["pixels_embedding"][0].shape == (48,)
