from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from stages.models.analytic import Gaussian
from tests.stages.models.analytic.models import SHAPE, SIZE, gaussian, normal


def test_the_denoiser_is_bayes_rule():
    """mean + C (C + sigma^2)^-1 (x - mean), by solving instead of by eigenvectors."""
    model, x, sigma = gaussian(), normal(5, *SHAPE), 0.8
    noisy = model.covariance + sigma**2 * torch.eye(SIZE)
    away = (x - model.mean).flatten(1).mT
    expected = model.mean + (model.covariance @ torch.linalg.solve(noisy, away)).mT.view(x.shape)
    torch.testing.assert_close(model.denoise(x, sigma), expected)


def test_the_density_is_scipys():
    model, x = gaussian(rank=5), normal(3, *SHAPE)
    covariance = model.covariance.numpy() + 0.25 * np.eye(SIZE)
    expected = multivariate_normal(model.mean.numpy().ravel(), covariance).logpdf(x.flatten(1).numpy())
    np.testing.assert_allclose(model.log_density(x, 0.5), expected)


def test_transport_solves_the_probability_flow():
    """Fine midpoint steps of dx/dsigma = (x - D) / sigma arrive where it says, and so does a detour."""
    model, x = gaussian(), 5 * normal(3, *SHAPE)
    levels = np.geomspace(5, 0.01, 2001)
    state = x
    for sigma, after in pairwise(levels.tolist()):
        middle = (sigma + after) / 2
        half = state + (middle - sigma) * -sigma * model.score(state, sigma)
        state = state + (after - sigma) * -middle * model.score(half, middle)
    torch.testing.assert_close(state, model.transport(x, 5.0, 0.01), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.transport(model.transport(x, 5.0, 1.0), 1.0, 0.01), model.transport(x, 5.0, 0.01))


def test_transport_from_noise_gives_the_data_distribution():
    model, noise = gaussian(mean=0.0), normal(50_000, *SHAPE).float()
    drawn = model.transport(1e4 * noise.double(), 1e4, 0.0).flatten(1)
    torch.testing.assert_close(drawn.mT.cov(), model.covariance, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        (torch.eye(3), "expected a symmetric covariance of 48 x 48, found"),
        (torch.eye(SIZE).roll(1, 0), "expected a symmetric covariance"),
        (-torch.eye(SIZE), "expected no negative variance, found -1"),
    ],
)
def test_what_is_no_covariance_is_refused(covariance, message):
    with pytest.raises(ValueError, match=message):
        Gaussian(torch.zeros(SHAPE), covariance)
