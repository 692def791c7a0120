"""The variational bound, against the distributions that it is about."""

import math

import diffusers
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from tuning.training.zoo.variational import VariationalBound

SCHEDULES = [
    {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    {"beta_schedule": "squaredcos_cap_v2"},
]


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(params=SCHEDULES, ids=lambda s: s["beta_schedule"])
def signal(request):
    return diffusers.DDPMScheduler(**request.param).alphas_cumprod.double()


def step(signal, t):
    """Alpha-bar before and at a step, beta, and the two variances; beta-tilde of the first step is the second's."""
    now, before = signal[t], signal[t - 1] if t else torch.tensor(1.0)
    beta = 1 - now / before
    late = max(t, 1)
    tilde = (1 - signal[late - 1]) / (1 - signal[late]) * (1 - signal[late] / signal[late - 1])
    return before, now, beta, tilde


def posterior_mean(before, now, beta, clean, noisy):
    """Ho et al. 2020, Eq. 7."""
    return before.sqrt() * beta / (1 - now) * clean + (1 - beta).sqrt() * (1 - before) / (1 - now) * noisy


@pytest.mark.parametrize("t", [1, 2, 300, 998])
def test_a_term_is_the_divergence_of_the_model_from_the_posterior(signal, t):
    clean, noise, predicted = (drawn(n, 2, 3, 4, 4) for n in range(3))
    v = drawn(3, 2, 3, 4, 4).tanh()
    before, now, beta, tilde = step(signal, t)
    noisy = now.sqrt() * clean + (1 - now).sqrt() * noise
    guess = (noisy - (1 - now).sqrt() * predicted) / now.sqrt()
    variance = (beta.log() * (v + 1) / 2 + tilde.log() * (1 - v) / 2).exp()
    true = Normal(posterior_mean(before, now, beta, clean, noisy), tilde.sqrt())
    model = Normal(posterior_mean(before, now, beta, guess, noisy), variance.sqrt())
    expected = kl_divergence(true, model).flatten(1).mean(1) / math.log(2)
    found = VariationalBound(signal, discrete=True).bits(predicted, v, noise, clean, torch.tensor([t, t]))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def first(signal, clean, v):
    """The model's distribution at step 0, and the bound's arguments that lead there."""
    noise, predicted = drawn(1, *clean.shape), drawn(2, *clean.shape)
    _, now, beta, tilde = step(signal, 0)
    noisy = now.sqrt() * clean + (1 - now).sqrt() * noise
    mean = (noisy - (1 - now).sqrt() * predicted) / now.sqrt()
    deviation = (beta.log() * (v + 1) / 2 + tilde.log() * (1 - v) / 2).exp().sqrt()
    return Normal(mean, deviation), (predicted, v, noise, clean, torch.zeros(len(clean), dtype=torch.int64))


def test_the_first_step_of_latents_is_their_density(signal):
    clean = drawn(0, 2, 4, 4, 4)
    model, arguments = first(signal, clean, drawn(3, 2, 4, 4, 4).tanh())
    expected = -model.log_prob(clean).flatten(1).mean(1) / math.log(2)
    torch.testing.assert_close(VariationalBound(signal, discrete=False).bits(*arguments), expected)


def test_the_first_step_of_pixels_is_the_probability_of_their_bin(signal):
    clean = torch.tensor([0, 255, 1, 254, 100, 200], dtype=torch.float64).view(1, 1, 2, 3) / 127.5 - 1
    model, arguments = first(signal, clean, torch.full_like(clean, 0.3))
    upper = model.cdf(torch.where(clean == 1, 1e9, clean + 1 / 255))
    lower = model.cdf(torch.where(clean == -1, -1e9, clean - 1 / 255))
    expected = -(upper - lower).clamp(min=1e-12).log2().flatten(1).mean(1)
    torch.testing.assert_close(VariationalBound(signal, discrete=True).bits(*arguments), expected)


def test_the_bins_of_a_pixel_have_probability_one(signal):
    """256 values share what the model gives: their probabilities add up."""
    values = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    clean = values.view(256, 1, 1, 1)
    model, (_, v, _, _, time) = first(signal, clean[100:101], torch.zeros(1, 1, 1, 1, dtype=torch.float64))
    _, now, _, _ = step(signal, 0)
    reach = ((1 - now) / now).sqrt()
    noise = (model.mean - clean) / reach  # so that, predicting none, the model's mean is the same for every value
    bits = VariationalBound(signal, discrete=True).bits(
        torch.zeros_like(clean), v.expand_as(clean), noise, clean, time.expand(256)
    )
    assert (2**-bits).sum().item() == pytest.approx(1, abs=1e-6)


def test_only_the_variance_learns_from_it(signal):
    predicted, v = (drawn(n, 6, 4, 4, 4).requires_grad_() for n in range(2))
    time = torch.tensor([0, 1, 5, 500, 998, 999])
    VariationalBound(signal, discrete=False).bits(
        predicted, v, drawn(2, 6, 4, 4, 4), drawn(3, 6, 4, 4, 4), time
    ).sum().backward()
    assert predicted.grad is None
    assert (v.grad.flatten(1).norm(dim=1) > 0).all()
    assert v.grad.isfinite().all()


def test_the_best_variance_is_the_data_s(signal):
    """For white noise the right variance is beta, for one point beta-tilde: the bound's minimum says so."""
    bound, t = VariationalBound(signal, discrete=False), 300
    v = torch.linspace(-1.5, 1.5, 61, dtype=torch.float64).view(-1, 1, 1, 1)
    time, zero = torch.full((61,), t), torch.zeros(61, 1, 1, 1, dtype=torch.float64)
    perfect = bound.bits(zero, v, zero, zero, time)
    assert v[perfect.argmin()].item() == pytest.approx(-1, abs=0.03)
    # white noise: the best prediction of the noise is sqrt(1 - abar) x, which leaves an error of variance abar
    blind = bound.bits(zero, v, zero + signal[t].sqrt(), zero, time)
    assert v[blind.argmin()].item() == pytest.approx(1, abs=0.03)


def test_the_weight_of_the_drawn_step_is_one_at_the_papers_lambda():
    from tuning.training.zoo.captioned import CaptionedSpec
    from tuning.training.zoo.loop import LoopSpec

    spec = CaptionedSpec(channels=(8,), loop=LoopSpec(steps=1, batch=1, learning_rate=1))
    assert spec.vlb_weight * 1000 == pytest.approx(1)
