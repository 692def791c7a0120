import numpy as np
import pytest

from stages.perturbations import ArrangementShift
from stages.randomness import rng


def arranged(latent, **fields):
    return ArrangementShift(**fields)(latent, rng(1, "perturbation"))


@pytest.mark.parametrize("by", ["channel", "channel_mean"])
@pytest.mark.parametrize(("region", "count"), [("first", 8), ("first", 192), ("block", 8), ("block", 12)])
def test_values_of_each_channel_stay(latent, region, count, by):
    out = arranged(latent, count=count, region=region, by=by)
    np.testing.assert_array_equal(np.sort(out.reshape(4, -1)), np.sort(latent.reshape(4, -1)))


@pytest.mark.parametrize("by", ["channel", "channel_mean"])
def test_what_lies_outside_the_region_stays(latent, by):
    first = arranged(latent, count=20, by=by).reshape(4, -1)
    np.testing.assert_array_equal(first[:, 20:], latent.reshape(4, -1)[:, 20:])
    block = arranged(latent, count=5, region="block", by=by)
    np.testing.assert_array_equal(block[:, 5:], latent[:, 5:])
    np.testing.assert_array_equal(block[:, :, 5:], latent[:, :, 5:])


def test_by_channel_sorts_each_channel_alone(latent):
    first = arranged(latent, count=20).reshape(4, -1)[:, :20]
    np.testing.assert_array_equal(first, np.sort(latent.reshape(4, -1)[:, :20]))
    block = arranged(latent, count=5, region="block")[:, :5, :5].reshape(4, -1)
    np.testing.assert_array_equal(block, np.sort(latent[:, :5, :5].reshape(4, -1)))


def test_by_channel_mean_moves_whole_pixels(latent):
    first = arranged(latent, count=20, by="channel_mean").reshape(4, -1)[:, :20]
    assert (np.diff(first.mean(axis=0)) >= 0).all()
    assert {tuple(p) for p in first.T} == {tuple(p) for p in latent.reshape(4, -1)[:, :20].T}


def test_sixty_four_pixels_are_the_first_row_and_a_block_of_64_is_everything(large):
    first, block = arranged(large, count=64), arranged(large, count=64, region="block")
    np.testing.assert_array_equal(first[:, 0], np.sort(large[:, 0]))
    np.testing.assert_array_equal(first[:, 1:], large[:, 1:])
    assert (np.diff(block.reshape(4, -1)) >= 0).all()


def test_one_pixel_is_the_identity(latent):
    np.testing.assert_array_equal(arranged(latent, count=1), latent)


@pytest.mark.parametrize(("region", "most"), [("first", 192), ("block", 12)])
def test_refuses_more_than_the_latent_holds(latent, region, most):
    with pytest.raises(ValueError, match=f"count up to {most} .* found count={most + 1}"):
        arranged(latent, count=most + 1, region=region)
