import math

import numpy as np
import pytest

from stages.perturbations.unlikeliness import unlikeliness
from stages.randomness import rng
from tuning.sage.validity import Validity, latent_tests, non_gaussian_rate, project


def draws(count, *shape):
    return [rng(seed, "latent").standard_normal(shape, dtype=np.float32) for seed in range(count)]


@pytest.mark.parametrize("shape", [(4, 16, 16), (3, 4, 4), (1, 1, 7)])
def test_tests_have_the_distribution_they_claim(shape):
    """Signed norms have unit deviation; a fifth or so of |z| of two directions passes 1.3, none 5."""
    found = [latent_tests(x) for x in draws(200, *shape)]
    assert 0.8 < np.std([one.norm_z for one in found]) < 1.25
    both = [one.autocorrelation_z for one in found]
    assert max(both) < 5
    assert 0.6 < np.mean(both) < 1.4  # the larger of two standard |z| has mean 1.13, one alone 0.80


def test_it_agrees_with_unlikeliness():
    (x,) = draws(1, 4, 8, 8)
    assert latent_tests(x)[:3] == (unlikeliness(x).norm_z, unlikeliness(x).mean_z, unlikeliness(x).ks_p)


def test_plain_seeds_pass_as_often_as_they_should():
    """5 % of them fail Kolmogorov-Smirnov, 1 % a mean, 0.5 % an autocorrelation, 0.7 % an entry, 0.3 % the norm."""
    rate = non_gaussian_rate(draws(400, 4, 16, 16), Validity())
    assert 0.03 < rate.value < 0.12
    assert rate.n == 400
    assert rate.method.startswith("Wilson")
    assert rate.low < rate.value < rate.high


(PLAIN,) = draws(1, 4, 16, 16)
CHANNEL = np.arange(4).reshape(4, 1, 1) == 1
OUTLIERS = {
    "norm_z": PLAIN * 1.2,
    "mean_z": PLAIN + 0.25 * CHANNEL,
    "ks_p": np.sign(PLAIN),
    "autocorrelation_z": np.sort(PLAIN, axis=1),
    "entry": np.where(np.arange(256).reshape(1, 16, 16) == 3, 6.0, PLAIN),
}


@pytest.mark.parametrize("test", OUTLIERS)
def test_each_test_catches_its_outlier(test):
    outlier = OUTLIERS[test].astype(np.float32)
    assert Validity().accepts(PLAIN)
    assert not Validity().accepts(outlier)
    off = {"norm_z": 1e9, "mean_z": 1e9, "ks_p": 0.0, "autocorrelation_z": 1e9, "entry": 1e9}
    only = Validity(**(off | {test: getattr(Validity(), test)}))
    assert only.accepts(PLAIN)
    assert not only.accepts(outlier)


def test_a_sign_perturbation_in_the_box_is_an_outlier_until_projected():
    """The box alone keeps no latent valid: it about doubles the squared norm."""
    moved = (PLAIN + np.sign(rng(1, "signs").standard_normal(PLAIN.shape))).astype(np.float32)
    assert latent_tests(moved).norm_z > 20
    assert abs(latent_tests(project(moved, PLAIN)).norm_z - latent_tests(PLAIN).norm_z) < 1e-4


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_rejected(value):
    broken = PLAIN.copy()
    broken[0, 0, 0] = value
    assert all(math.isnan(one) for one in latent_tests(broken))
    assert not Validity().accepts(broken)


@pytest.mark.parametrize("seed", range(3))
def test_the_projection_keeps_norm_mean_and_deviation(seed):
    random = rng(seed, "moved")
    start = random.standard_normal((3, 8, 8), dtype=np.float32)
    moved = (start + random.uniform(-1, 3, start.shape)).astype(np.float32)
    found = project(moved, start)
    assert found.dtype == np.float32
    for measure in (np.linalg.norm, np.mean, np.std):
        assert measure(found.astype(np.float64)) == pytest.approx(measure(start.astype(np.float64)), rel=1e-5, abs=1e-6)
    np.testing.assert_allclose(project(found, start), found, atol=1e-5)
    np.testing.assert_allclose(project(start, start), start, atol=1e-6)


def test_a_constant_latent_has_no_projection():
    with pytest.raises(ValueError, match="entries that differ, found standard deviation 0"):
        project(np.zeros((1, 2, 2), np.float32), PLAIN)


def test_no_latents_give_no_rate():
    rate = non_gaussian_rate([], Validity())
    assert math.isnan(rate.value)
    assert rate.n == 0
