from typing import get_args

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from scipy.ndimage import gaussian_filter

from stages.degradations import (
    AnyDegradation,
    BoxInpainting,
    GaussianDeblurring,
    RandomInpainting,
    SuperResolution,
)
from stages.degradations.linear import linear_map
from stages.randomness import rng

PARSE = TypeAdapter(AnyDegradation)
TABLE = [
    BoxInpainting(share=0.5),
    RandomInpainting(share=0.7),
    SuperResolution(factor=4),
    GaussianDeblurring(sigma_px=0.7),
    GaussianDeblurring(sigma_px=9.0),
]
SIDE, SEEDS = 16, [3, 4, 3]


def draw(purpose, *shape):
    return torch.from_numpy(rng(0, purpose).standard_normal(shape))


@pytest.fixture(params=TABLE, ids=repr)
def degradation(request):
    return request.param


@pytest.fixture
def operator(degradation):
    return linear_map(degradation, SIDE, SEEDS, torch.float64)


def test_every_kind_is_in_the_table():
    assert {type(degradation) for degradation in TABLE} == set(get_args(get_args(AnyDegradation)[0]))


def test_survives_json(degradation):
    assert PARSE.validate_json(degradation.model_dump_json()) == degradation


def test_the_adjoint_is_adjoint(operator):
    x = draw("x", 3, 2, SIDE, SIDE)
    y = draw("y", *operator(x).shape)
    torch.testing.assert_close((operator(x) * y).sum((1, 2, 3)), (x * operator.adjoint(y)).sum((1, 2, 3)))


def test_it_is_linear(operator):
    x, y = draw("x", 3, 2, SIDE, SIDE), draw("y", 3, 2, SIDE, SIDE)
    torch.testing.assert_close(operator(2 * x - 3 * y), 2 * operator(x) - 3 * operator(y))


def test_it_loses_something_and_is_no_brighter(operator):
    x = draw("x", 3, 2, SIDE, SIDE)
    assert (operator(x).flatten(1).norm(dim=1) < 0.95 * x.flatten(1).norm(dim=1)).all()
    flat = operator(torch.ones(3, 1, SIDE, SIDE, dtype=torch.float64))
    assert set(flat.unique().round(decimals=9).tolist()) <= {0.0, 1.0}


def test_a_row_depends_on_its_own_seed(degradation, operator):
    x = draw("x", 1, 2, SIDE, SIDE).expand(3, -1, -1, -1)
    out = operator(x)
    assert torch.equal(out[0], out[2])
    chosen = "inpainting" in degradation.kind
    assert torch.equal(out[0], out[1]) != chosen


def test_a_box_hides_a_square_and_random_a_share():
    for seed in range(20):
        hidden = 1 - BoxInpainting(share=0.25).keep(SIDE, rng(seed, "mask"))
        rows, columns = np.nonzero(hidden)
        assert hidden.sum() == 16
        assert np.ptp(rows) == np.ptp(columns) == 3
    share = 1 - RandomInpainting(share=0.9).keep(256, rng(0, "mask")).mean()
    assert share == pytest.approx(0.9, abs=0.01)


def test_super_resolution_averages_blocks():
    x = draw("x", 1, 3, SIDE, SIDE)
    out = linear_map(SuperResolution(factor=4), SIDE, [0], torch.float64)(x)
    torch.testing.assert_close(out, torch.nn.functional.avg_pool2d(x, 4))
    with pytest.raises(ValueError, match="factor=3 must divide the picture's side, which is 16"):
        SuperResolution(factor=3).axis(SIDE)


@pytest.mark.parametrize("sigma", [0.7, 2.0, 9.0])
def test_blur_is_scipys_with_a_mirrored_border(sigma):
    x = draw("x", SIDE, SIDE)
    out = linear_map(GaussianDeblurring(sigma_px=sigma), SIDE, [0], torch.float64)(x[None, None])[0, 0]
    truncate = np.ceil(4 * sigma) / sigma
    np.testing.assert_allclose(out, gaussian_filter(x.numpy(), sigma, mode="reflect", truncate=truncate), atol=1e-12)
