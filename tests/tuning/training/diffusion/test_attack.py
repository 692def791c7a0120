"""The attack, on denoisers whose every answer is known; in double precision."""

import math

import pytest
import torch

from stages.models.analytic import Empirical, random_molrg
from tuning.training.diffusion.attack import (
    ascend,
    attack,
    clean_error,
    noised,
    objective,
    projected,
    size,
    slope,
    squares,
)
from tuning.training.diffusion.perturbations import Adversarial

SHAPE = (3, 4, 4)
ENTRIES = math.prod(SHAPE)
FAR = 1e6
"""A bound that never binds."""
TABLE = [
    Adversarial(),
    Adversarial(gradient="detached"),
    Adversarial(passes=5, step=0.3, max_norm=0.05),
    Adversarial(passes=4, norm="linf", step=0.02, max_norm=0.05),
]


def drawn(number: int, rows: int = 6) -> torch.Tensor:
    return torch.randn(rows, *SHAPE, generator=torch.Generator().manual_seed(number), dtype=torch.float64)


def at(abar: float, rows: int = 6) -> torch.Tensor:
    return torch.full((rows, 1, 1, 1), abar, dtype=torch.float64)


def exact(model, abar: float):
    """The noise that a model of known answers sees."""
    sigma = math.sqrt((1 - abar) / abar)
    return lambda x: (x - math.sqrt(abar) * model.denoise(x / math.sqrt(abar), sigma)) / math.sqrt(1 - abar)


def mixture(abar: float, gradient="full", rows: int = 6):
    """The exact denoiser of a mixture of two subspaces of six dimensions in 48: its objective and noisy pictures."""
    model = random_molrg(SHAPE, (6, 6), seed=1)
    clean, noise, signal = model.sample(rows, seed=2), drawn(3, rows), at(abar, rows)
    noisy = noised(clean, noise, signal)
    return objective(exact(model, abar), noisy, noise, signal, gradient), noisy


@pytest.mark.parametrize("gradient", ["full", "detached"])
@pytest.mark.parametrize("abar", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("passes", [2, 3, 6])
def test_closed_form_of_a_linear_denoiser(gradient, abar, passes):
    """With eps(x) = a x and 0 < a < c = 1 / sqrt(1 - abar), every step goes along the residual r of length |r|."""
    a, c, alpha, noise, signal = 0.6, (1 - abar) ** -0.5, 0.1, drawn(0), at(abar)
    noisy = noised(drawn(1), noise, signal)
    found = attack(
        objective(lambda x: a * x, noisy, noise, signal, gradient),
        noisy,
        Adversarial(passes=passes, step=alpha, max_norm=FAR, gradient=gradient),
    )
    way = (passes - 1) * alpha
    residual = a * noisy - noise
    sign = -1 if gradient == "full" else 1
    torch.testing.assert_close(found.delta, sign * way * residual / size(residual).view(-1, 1, 1, 1))
    torch.testing.assert_close(found.before * ENTRIES, size(residual) ** 2)
    torch.testing.assert_close(found.after * ENTRIES, (size(residual) - sign * (c - a) * way) ** 2)


CHANGES = [(0.1, 0.03, -0.03), (0.5, 0.21, -0.10), (0.9, 0.68, -0.41), (0.99, 2.86, -0.89)]
"""Mean relative changes of an independent computation, on other mixtures of these dimensions."""


@pytest.mark.parametrize(("abar", "full", "detached"), CHANGES)
def test_the_full_gradient_raises_the_objective_and_the_detached_one_lowers_it(abar, full, detached):
    """On the exact denoiser; one step of length 0.2."""
    changes, up = {}, {}
    for gradient in ("full", "detached"):
        error, noisy = mixture(abar, gradient, rows=400)
        found = attack(error, noisy, Adversarial(passes=2, step=0.2, max_norm=FAR, gradient=gradient))
        changes[gradient] = (found.after / found.before - 1).mean().item()
        up[gradient] = (found.after > found.before).double().mean().item()
    assert changes == pytest.approx({"full": full, "detached": detached}, rel=0.1, abs=0.01)
    assert up["full"] == 1
    assert up["detached"] < 0.12


@pytest.mark.parametrize("abar", [0.01, 0.5, 0.999])
def test_the_objective_is_the_weighted_error_of_the_clean_picture(abar):
    model = random_molrg(SHAPE, (6, 6), seed=1)
    clean, noise, signal, delta = model.sample(6, seed=2), drawn(3), at(abar), drawn(4) * 0.1
    noisy, denoise = noised(clean, noise, signal), exact(model, abar)
    left, right = objective(denoise, noisy, noise, signal), clean_error(denoise, noisy, clean, signal)
    torch.testing.assert_close(left(delta), right(delta), rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("abar", [0.1, 0.5, 0.99])
def test_a_model_of_one_picture_has_no_error_anywhere(abar):
    point = drawn(5, 1).clamp(-1, 1)
    noise, signal = drawn(3), at(abar)
    noisy = noised(point.expand(6, *SHAPE), noise, signal)
    error = objective(exact(Empirical(point), abar), noisy, noise, signal)
    for length in (0.0, 0.1, 10.0):
        assert error(drawn(6) * length).max() < 1e-24


@pytest.mark.parametrize("abar", [0.1, 0.9])
def test_at_no_perturbation_the_gradients_differ_by_the_residual(abar):
    full, noisy = mixture(abar)
    detached, _ = mixture(abar, "detached")
    nothing = torch.zeros_like(noisy)
    torch.testing.assert_close(full(nothing), detached(nothing), rtol=0, atol=0)
    model, noise = random_molrg(SHAPE, (6, 6), seed=1), drawn(3)
    residual = exact(model, abar)(noisy) - noise
    gap = (slope(detached, nothing) - slope(full, nothing)) * ENTRIES
    torch.testing.assert_close(gap, 2 * residual / math.sqrt(1 - abar))


def test_the_slope_is_that_of_differences():
    error, noisy = mixture(0.5)
    delta, way = drawn(7) * 0.1, drawn(8)
    rise = (error(delta + 1e-6 * way) - error(delta - 1e-6 * way)) / 2e-6
    torch.testing.assert_close((slope(error, delta) * way).flatten(1).sum(1), rise, rtol=1e-6, atol=1e-9)
    assert not noisy.requires_grad


@pytest.mark.parametrize("spec", TABLE, ids=repr)
class TestBounds:
    def test_no_perturbation_is_longer_than_its_steps_or_its_bound(self, spec):
        error, noisy = mixture(0.5, spec.gradient)
        found = attack(error, noisy, spec).delta
        bound = spec.max_norm * (ENTRIES**0.5 if spec.norm == "l2" else 1)
        assert size(found, spec.norm).max() <= min((spec.passes - 1) * spec.step, bound) * (1 + 1e-12)
        assert size(found, spec.norm).min() > 0

    def test_what_a_row_weighs_does_not_move_it(self, spec):
        error, noisy = mixture(0.5, spec.gradient)
        weights = torch.arange(1.0, 7.0, dtype=torch.float64) / 1e6
        weighted = attack(lambda delta: error(delta) * weights, noisy, spec).delta
        torch.testing.assert_close(weighted, attack(error, noisy, spec).delta)

    def test_one_pass_moves_nothing(self, spec):
        error, noisy = mixture(0.5, spec.gradient)
        found = attack(error, noisy, spec.model_copy(update={"passes": 1}))
        assert not found.delta.any()
        assert torch.equal(found.before, found.after)


def test_no_other_step_of_its_length_rises_more():
    error, noisy = mixture(0.5)
    best = attack(error, noisy, Adversarial(passes=2, step=1e-4)).after
    for number in range(20):
        way = drawn(100 + number)
        assert (error(1e-4 * way / size(way).view(-1, 1, 1, 1)) < best).all()


def test_where_there_is_no_slope_there_is_no_step():
    nothing = torch.zeros(2, *SHAPE)
    for norm in ("l2", "linf"):
        assert torch.equal(ascend(nothing, nothing, Adversarial(norm=norm)), nothing)


def test_what_lies_within_the_bound_stays():
    inside = drawn(0)
    inside *= 0.05 / squares(inside).sqrt().view(-1, 1, 1, 1)
    assert torch.equal(projected(inside, 0.1, "l2"), inside)
    assert torch.equal(projected(inside, 1.0, "linf"), inside)
    torch.testing.assert_close(squares(projected(inside * 9, 0.1, "l2")), at(0.01).flatten())
