import pytest
import torch

from stages.models.analytic.files import KINDS
from tests.stages.models.analytic.models import SHAPE, SIZE, TABLE, normal


@pytest.fixture(params=TABLE)
def model(request):
    return TABLE[request.param]


def test_every_kind_is_in_the_table():
    assert {model.kind for model in TABLE.values()} == {*KINDS}


@pytest.mark.parametrize("sigma", [0.3, 1.0, 5.0])
def test_the_score_is_the_gradient_of_the_log_density(model, sigma):
    """By central differences along random directions: Tweedie's formula, checked from both ends."""
    x, direction, h = sigma * normal(4, *SHAPE), normal(4, *SHAPE, purpose="direction"), 1e-4
    slope = (model.log_density(x + h * direction, sigma) - model.log_density(x - h * direction, sigma)) / (2 * h)
    torch.testing.assert_close((model.score(x, sigma) * direction).flatten(1).sum(1), slope, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.4, 1.0])
def test_the_jacobian_is_that_of_finite_differences_symmetric_and_positive(model, sigma):
    """It is the posterior covariance over sigma^2."""
    x, h = normal(*SHAPE), 1e-5
    steps = h * torch.eye(SIZE, dtype=torch.float64).view(SIZE, *SHAPE)
    numeric = (model.denoise(x + steps, sigma) - model.denoise(x - steps, sigma)).flatten(1).mT / (2 * h)
    exact = model.jacobian(x, sigma)
    torch.testing.assert_close(exact, numeric, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(exact, exact.mT)
    assert torch.linalg.eigvalsh(exact).min() > -1e-10


def test_the_jacobian_is_that_of_autograd(model):
    x = normal(*SHAPE)
    by_autograd = torch.func.jacrev(lambda x: model.denoise(x[None], 0.7)[0])(x).view(SIZE, SIZE)
    torch.testing.assert_close(model.jacobian(x, 0.7), by_autograd)


def test_much_noise_gives_the_mean(model):
    x = torch.zeros(1, *SHAPE, dtype=torch.float64)
    far = model.denoise(1e6 * normal(3, *SHAPE), 1e6)
    torch.testing.assert_close(far, model.denoise(x, 1e6).expand(3, *SHAPE), atol=1e-4, rtol=0)


def test_a_row_does_not_depend_on_its_batch(model):
    x = normal(5, *SHAPE)
    one_by_one = torch.cat([model.denoise(row[None], 0.5) for row in x])
    torch.testing.assert_close(model.denoise(x, 0.5), one_by_one, rtol=1e-12, atol=1e-12)
