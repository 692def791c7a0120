import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from stages.models.analytic import Gaussian, MoLRG, random_molrg
from tests.stages.models.analytic.models import SHAPE, SIZE, molrg, normal


def components(model):
    """The covariance of each component."""
    blocks = model.basis.flatten(0, 2).split(model.ranks.tolist(), dim=1)
    return [(block @ block.mT).numpy() for block in blocks]


def numerical_rank(jacobian):
    """The fewest singular values that hold 99 % of the norm."""
    values = torch.linalg.svdvals(jacobian)
    share = (values**2).cumsum(0).sqrt() / (values**2).sum().sqrt()
    return int((share > 0.99).nonzero()[0, 0]) + 1


@pytest.mark.parametrize("ranks", [(6, 6), (2, 7, 4)], ids=str)
@pytest.mark.parametrize("sigma", [0.1, 1.0, 8.0])
def test_the_posterior_is_bayes_rule_by_brute_force(ranks, sigma):
    model = molrg(*ranks)
    x = (model.sample(6, 0) + sigma * normal(6, *SHAPE)).flatten(1).numpy()
    noisy = [covariance + sigma**2 * np.eye(SIZE) for covariance in components(model)]
    logs = np.stack([multivariate_normal(np.zeros(SIZE), c).logpdf(x) for c in noisy], axis=1) - np.log(len(ranks))
    weights = np.exp(logs - logs.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    means = [x @ np.linalg.solve(n, c) for n, c in zip(noisy, components(model), strict=True)]
    expected = sum(w[:, None] * mean for w, mean in zip(weights.T, means, strict=True))
    rows = torch.from_numpy(x).view(-1, *SHAPE)
    np.testing.assert_allclose(model.responsibilities(rows, sigma), weights, atol=1e-9)
    np.testing.assert_allclose(model.denoise(rows, sigma).flatten(1), expected, atol=1e-9)
    np.testing.assert_allclose(model.log_density(rows, sigma), np.logaddexp.reduce(logs, axis=1), rtol=1e-9)


def test_one_component_is_a_gaussian():
    model, x = molrg(5), normal(4, *SHAPE)
    other = Gaussian(torch.zeros(SHAPE), torch.from_numpy(components(model)[0]))
    torch.testing.assert_close(model.denoise(x, 0.6), other.denoise(x, 0.6))
    torch.testing.assert_close(model.log_density(x, 0.6), other.log_density(x, 0.6))
    torch.testing.assert_close(model.jacobian(x[0], 0.6), other.jacobian(x[0], 0.6))


@pytest.mark.parametrize(("sigma", "low", "high"), [(0.05, 6, 6), (0.5, 6, 7), (5.0, 12, 12), (50.0, 12, 12)])
def test_the_rank_of_the_jacobian_is_one_components_near_the_data_and_alls_far_away(sigma, low, high):
    """The poster of MoLRG (arXiv:2409.02426): rank ratio .125 at SNR >= 1.67 and .25 at SNR <= .3, n = 48, ranks 6."""
    model = molrg(6, 6)
    for x in model.sample(5, 0) + sigma * normal(5, *SHAPE):
        assert low <= numerical_rank(model.jacobian(x, sigma)) <= high


def test_samples_lie_in_the_components_and_have_their_covariance():
    model = molrg(3, 5)
    x = model.sample(100_000, 0).flatten(1)
    expected = torch.from_numpy(sum(components(model)) / 2)
    torch.testing.assert_close(x.mT.cov(), expected, atol=0.01, rtol=0)
    assert torch.equal(x, model.sample(100_000, 0).flatten(1))
    near = model.responsibilities(model.sample(200, 1), 0.01)
    assert near.max(1).values.min() > 0.999
    assert near.argmax(1).double().mean() == pytest.approx(0.5, abs=0.15)


def test_what_is_no_mixture_is_refused():
    basis, weights = molrg().basis, torch.full((2,), 0.5)
    with pytest.raises(ValueError, match="expected 12 columns in all ranks"):
        MoLRG(basis, torch.tensor([6, 7]), weights)
    with pytest.raises(ValueError, match="expected 12 columns in all ranks, and as many weights, of sum 1"):
        MoLRG(basis, torch.tensor([6, 6]), weights / 2)
    with pytest.raises(ValueError, match="expected orthonormal columns"):
        MoLRG(2 * basis, torch.tensor([6, 6]), weights)
    with pytest.raises(ValueError, match=r"add up to at most 48, found \[30, 30\]"):
        random_molrg(SHAPE, (30, 30), seed=0)
