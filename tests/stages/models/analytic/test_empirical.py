from functools import reduce

import numpy as np
import pytest
import torch
from scipy.special import softmax

from stages.models.analytic import Empirical, Partial
from stages.randomness import rng
from tests.stages.models.analytic.models import SHAPE, empirical, normal


@pytest.mark.parametrize("sigma", [0.002, 0.1, 1.0, 80.0])
def test_it_is_the_softmax_of_brute_force(sigma):
    model = empirical()
    x = model.points[:6] + sigma * normal(6, *SHAPE)
    y = model.points.flatten(1).numpy()
    squared = ((x.flatten(1).numpy()[:, None] - y) ** 2).sum(2)
    expected = softmax(-squared / (2 * sigma**2), axis=1) @ y
    np.testing.assert_allclose(model.denoise(x, sigma).flatten(1), expected, atol=1e-8)


def test_little_noise_gives_the_nearest_training_picture():
    model = empirical()
    torch.testing.assert_close(model.denoise(model.points + 0.002 * normal(20, *SHAPE), 0.002), model.points)


def test_much_noise_gives_the_mean_picture():
    model = empirical()
    blurred = model.denoise(1e5 * normal(2, *SHAPE), 1e5)
    torch.testing.assert_close(blurred, model.points.mean(0).expand(2, *SHAPE), atol=1e-3, rtol=0)


@pytest.mark.parametrize("sigma", [0.002, 0.3, 2.0, 80.0])
@pytest.mark.parametrize("shards", [1, 3, 20])
def test_merged_shards_give_the_unsharded_answer(sigma, shards):
    """Also the density's parts, in any order, and whatever the block."""
    model = empirical()
    x = (model.points[:5] + sigma * normal(5, *SHAPE)).flatten(1)
    whole = model.partial(x, sigma)
    parts = [Empirical(points, block=2).partial(x, sigma) for points in model.points.tensor_split(shards)]
    for merged in (reduce(Partial.merge, parts), reduce(Partial.merge, reversed(parts))):
        torch.testing.assert_close(merged.mean, whole.mean, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(merged.top, whole.top)
        torch.testing.assert_close(merged.total, whole.total)


@pytest.mark.parametrize("sigma", [0.002, 0.05, 1.0, 80.0])
def test_single_precision_is_near_double(sigma):
    single, double = empirical(dtype=torch.float32), empirical()
    x = double.points[:6] + sigma * normal(6, *SHAPE)
    out = single.denoise(x, sigma)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), double.denoise(x, sigma), rtol=0, atol=2e-5)


def test_bytes_stand_for_pictures():
    stored = torch.from_numpy(rng(0, "bytes").integers(0, 256, (7, *SHAPE), dtype=np.uint8))
    x = normal(3, *SHAPE)
    expected = Empirical(stored.double() / 127.5 - 1).denoise(x, 0.5)
    torch.testing.assert_close(Empirical(stored).denoise(x, 0.5), expected)


def test_an_empty_training_set_is_refused():
    with pytest.raises(ValueError, match="at least one training picture, found none"):
        Empirical(torch.zeros(0, *SHAPE))
