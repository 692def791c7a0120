import math

import numpy as np
import pytest
from scipy import stats

from stages.perturbations import ArrangementShift, UniformMeanShift, unlikeliness
from stages.randomness import rng


def centred(side):
    x = rng(0, "latent").standard_normal((4, side, side), dtype=np.float32)
    return x - x.mean(axis=(1, 2), keepdims=True)


@pytest.mark.parametrize(
    ("side", "shift", "sigmas"), [(64, 0.05, 3.2), (64, 0.2, 12.8), (64, -0.3, 19.2), (96, 0.05, 4.8), (96, 0.2, 19.2)]
)
def test_a_mean_shift_is_as_many_sigma_as_the_paper_does_not_say(side, shift, sigmas):
    shifted = UniformMeanShift(shift=shift)(centred(side), rng(1, "perturbation"))
    assert unlikeliness(shifted).mean_z == pytest.approx(sigmas, abs=0.01)


def test_norm_z_of_a_mean_shift():
    """Adding a to d entries of mean 0 adds d a^2 to the squared norm: a^2 sqrt(d / 2) sigma, 3.6 for 0.2 at 64 x 64."""
    x = centred(64)
    shifted = UniformMeanShift(shift=0.2)(x, rng(1, "perturbation"))
    assert unlikeliness(shifted).norm_z - unlikeliness(x).norm_z == pytest.approx(0.04 * math.sqrt(16384 / 2), abs=1e-3)


def test_normal_draws_are_likely():
    drawn = [unlikeliness(rng(s, "latent").standard_normal((4, 16, 16), dtype=np.float32)) for s in range(300)]
    norm_z, ks_p = np.array([u.norm_z for u in drawn]), np.array([u.ks_p for u in drawn])
    assert np.mean([u.mean_z for u in drawn]) == pytest.approx(1.466, abs=0.15)  # E max of four |N(0, 1)|
    assert norm_z.mean() == pytest.approx(0, abs=0.25)
    assert norm_z.std() == pytest.approx(1, abs=0.2)
    assert stats.kstest(ks_p, "uniform").pvalue > 1e-3


def test_a_shift_is_seen_and_an_arrangement_is_not(large):
    assert unlikeliness(UniformMeanShift(shift=0.2)(large, rng(1, "perturbation"))).ks_p < 1e-50
    assert unlikeliness(ArrangementShift(count=4096)(large, rng(1, "perturbation"))) == pytest.approx(
        unlikeliness(large)
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_latent_that_is_not_finite_has_no_likelihood(latent, bad):
    latent[0, 0, 0] = bad
    assert all(math.isnan(z) for z in unlikeliness(latent))
