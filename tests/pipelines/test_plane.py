"""The plane through three noises: coloured by the same representatives for every model, the right way up."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.plane import coloured, noise_plane, tiles
from pipelines.store import Store
from tests.pipelines.made import reproducibility, save_measured, save_rows, units
from tests.pipelines.test_pairs import near

MODELS = "models=[{name: a, model: 'zoo:text-to-image'}, {name: b, model: 'zoo:text-to-image', sampler: {steps: 5}}]"


def test_every_picture_is_nearest_to_its_own_representative():
    drawn = units(2, 40)
    regions, chosen = coloured(drawn, 5)
    vectors = np.stack([drawn[model, point] for model, point in chosen])
    np.testing.assert_array_equal(regions, (drawn @ vectors.T).argmax(axis=-1))
    assert sorted(np.unique(regions)) == list(range(len(chosen)))
    assert 1 < len(chosen) <= 5


def test_there_are_no_more_representatives_than_pictures_and_missing_ones_have_none():
    drawn = units(1, 3)
    drawn[0, 0] = np.nan
    regions, chosen = coloured(drawn, 5)
    assert regions.tolist() == [[-1, 0, 1]]
    assert chosen == [(0, 1), (0, 2)]


def test_clusters_that_lie_apart_are_found():
    centres = units(3, purpose="centres")
    drawn = near(centres.repeat(20, axis=0), 0.1, "around").reshape(2, 30, -1)
    regions, _ = coloured(drawn, 3)
    assert [len(set(part)) for part in regions.reshape(3, 20).tolist()] == [1, 1, 1]
    assert len(set(regions.ravel().tolist())) == 3


def test_agreement_is_the_cosine_at_every_point(tmp_path: Path):
    question = reproducibility(tmp_path, MODELS, "plane={points: 4}")
    assert noise_plane(question) is None
    drawn = units(2, 16)
    for grid, vectors in zip(question.planes, drawn, strict=True):
        save_rows(Store(question.spec.store), grid)
        save_measured(Store(question.spec.store), grid, question.descriptor, vectors)
    plane = noise_plane(question)
    assert plane.axis == pytest.approx((0, 1 / 3, 2 / 3, 1), abs=1e-6)
    expected = np.sum(drawn[0] * drawn[1], axis=-1).reshape(4, 4)
    np.testing.assert_allclose(plane.agreement[0, 1], expected, atol=1e-6)
    assert plane.agreeing(0.0)[0, 1] == pytest.approx(np.mean(expected > 0))


def test_pictures_lie_as_on_a_map(tmp_path: Path):
    """The first point, a = b = 0, is at the lower left; a grows to the right, b upwards."""
    question = reproducibility(tmp_path, MODELS, "plane={points: 3}")
    grid, store = question.planes[0], Store(question.spec.store)
    assert tiles(store, grid, 3, 3) is None
    save_rows(store, grid)
    mosaic = tiles(store, grid, 3, 3)
    assert mosaic.shape == (24, 24, 3)
    assert mosaic[::8, ::8, 0].tolist() == [[6, 7, 8], [3, 4, 5], [0, 1, 2]]
    assert tiles(store, grid, 3, 2)[::8, ::8, 0].tolist() == [[6, 8], [0, 2]]
