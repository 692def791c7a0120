import numpy as np
import pytest

from stages.metrics.quality.classes import Classes, classifier_score, together
from stages.randomness import rng


def test_sure_and_varied_pictures_score_the_number_of_classes():
    assert Classes.of(np.eye(5)[np.arange(50) % 5]).score == pytest.approx(5)


def test_pictures_that_all_look_alike_or_like_everything_score_one():
    assert Classes.of(np.eye(5)[[2] * 10]).score == pytest.approx(1)
    assert Classes.of(np.full((10, 5), 0.2)).score == pytest.approx(1)


def probabilities(n: int) -> np.ndarray:
    return rng(0, "classes").dirichlet(np.full(6, 0.3), n)


def test_agrees_with_the_mean_divergence():
    p = probabilities(80)
    divergence = np.sum(p * (np.log(p) - np.log(p.mean(axis=0))), axis=1)
    assert Classes.of(p).score == pytest.approx(np.exp(divergence.mean()), rel=1e-12)


def test_any_split_merges_to_one_pass():
    p = probabilities(90)
    parts = [Classes.of(part) for part in np.split(p, [10, 10, 70])]
    assert together(parts).score == pytest.approx(Classes.of(p).score, rel=1e-12)
    found = classifier_score(parts, missing=2)
    assert found.value == pytest.approx(Classes.of(p).score)
    assert (found.n, found.n_missing) == (90, 2)
    assert found.low < found.value < found.high


def test_no_picture_has_no_score():
    assert np.isnan(Classes.empty(5).score)
