import numpy as np
import PIL.Image
import pytest

from stages.models.descriptors.loading import load_descriptor
from stages.models.descriptors.spec import DescriptorSpec
from stages.models.zoo import world
from stages.randomness import rng
from tests.tuning.training.zoo.test_loop import descriptor
from tuning.training.zoo.copies import COPIES, measure_scores, reduced


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    recipe = descriptor(work)
    recipe.save(recipe.module, work / "descriptor")
    return work / "descriptor"


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_seeded_and_differs_from_its_picture(kind):
    picture = PIL.Image.fromarray(world.render([world.HELD_OUT + 5])[0])
    one, again = (np.asarray(COPIES[kind](picture, rng(1, kind))) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert one.shape != (64, 64, 3) or (one != np.asarray(picture)).any()


def test_a_reduced_picture_is_its_average():
    x = world.render([3])
    np.testing.assert_array_equal(reduced(x, 64), x)
    small = reduced(x, 16)
    assert small.shape == (1, 16, 16, 3)
    assert abs(float(small[0, 2, 5, 1]) - x[0, 8:12, 20:24, 1].mean()) <= 0.5


def test_pairs_are_of_the_pictures_that_they_say(folder):
    found = measure_scores(folder, 64, images=192)
    embed = load_descriptor(DescriptorSpec(model=str(folder), batch=64)).embed
    renders = world.render(found.index)
    mirrored = embed([np.ascontiguousarray(p[:, ::-1]) for p in renders]) @ embed(list(renders)).T
    np.testing.assert_allclose(found.scores["mirrored"], mirrored, atol=1e-5)
    assert (found.own.sum(), found.alike.sum()) == (192, 192)
    row, column = np.argwhere(found.alike)[0]
    assert world.captions(found.index[[row]]) == world.captions(found.index[[column]])
    assert (found.own.astype(int) + found.alike + found.other == 1).all()
    np.testing.assert_allclose(found.by_picture(found.own).mean(), found.pairs(found.own).scores.mean(), rtol=1e-5)
    assert found.by_picture(found.other, above=-2.0).tolist() == [1.0] * 192
    pairs = found.pairs(found.own)
    assert len(pairs.scores) == len(COPIES) * 192
    np.testing.assert_array_equal(pairs.scores[:192], np.diag(next(iter(found.scores.values()))))
