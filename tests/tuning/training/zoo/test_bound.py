"""The variational bound of a model as a whole; its single terms are tested in `test_variational.py`."""

import math
from typing import cast

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from stages.models.generator import Stepwise
from stages.models.loading import load_generator
from stages.models.spec import ModelSpec
from stages.models.zoo import WEIGHTS, world
from tests.stages.models import tiny
from tuning.training.zoo.bound import bound, clean_of, prior, quadrature
from tuning.training.zoo.data import pictures
from tuning.training.zoo.text_to_image import cached_latents

PROMPTS = ["a cat", "a dog", "a cat"]


@pytest.fixture(scope="module", params=["pixel_text", "pixel_text_fixed", "latent_learned"])
def model(request, tmp_path_factory) -> Stepwise:
    folder = tmp_path_factory.mktemp(request.param)
    tiny.save(request.param, str(folder))
    return cast("Stepwise", load_generator(ModelSpec(model=str(folder), device="cpu")))


def drawn(model):
    return torch.randn(3, *model.latent_shape(None), generator=torch.Generator().manual_seed(0)).clamp(-1, 1)


@pytest.mark.parametrize(("steps", "stride"), [(1000, 20), (1000, 30), (7, 20), (20, 20), (21, 20)])
def test_the_weights_of_the_visited_steps_add_up_to_all(steps, stride):
    visited = quadrature(steps, stride)
    assert sum(visited.values()) == steps
    assert sorted(visited) == list(visited)
    assert all(visited[step] == 1 for step in range(min(stride, steps)))
    assert max(visited) < steps


def test_a_few_steps_stand_for_all(model):
    few = bound(model, drawn(model), PROMPTS, quadrature(80, 8)).bits
    every = bound(model, drawn(model), PROMPTS, dict.fromkeys(range(80), 1.0)).bits
    for name, bits in every.items():
        torch.testing.assert_close(few[name].mean(), bits.mean(), rtol=0.05, atol=0.05)


def test_a_learned_variance_is_counted_where_there_is_one(model):
    """An untrained v is near zero, the middle of both bounds on the scale of logarithms."""
    found = bound(model, drawn(model), PROMPTS, dict.fromkeys([0, 1, 500, 999], 1.0))
    learns = model.pipe.scheduler.config.get("variance_type") == "learned_range"
    assert ("learned variance" in found.bits) == (found.between is not None) == learns
    assert list(found.bits)[-2:] == ["smaller fixed variance", "larger fixed variance"]
    if found.between is not None:
        assert (found.between > 0).all()
        assert (found.between <= 1 + 1e-6).all()


def test_a_bound_is_a_row_s_own(model):
    """Up to rounding: a row beside others has the same noise only if it has the same place."""
    clean = drawn(model)
    whole = bound(model, clean, PROMPTS, dict.fromkeys([0, 500, 999], 1.0)).bits
    changed = torch.cat([clean[:2], clean[2:] * 0.5])
    again = bound(model, changed, PROMPTS, dict.fromkeys([0, 500, 999], 1.0)).bits
    for name in whole:
        torch.testing.assert_close(whole[name][:2], again[name][:2])
        assert not torch.equal(whole[name][2], again[name][2])


def test_the_prior_is_the_divergence_of_the_last_state():
    clean, signal = torch.linspace(-1, 1, 12).view(1, 3, 2, 2), 0.3
    expected = kl_divergence(Normal(math.sqrt(signal) * clean, math.sqrt(1 - signal)), Normal(0.0, 1.0))
    torch.testing.assert_close(prior(clean, signal), expected.flatten(1).mean(1) / math.log(2))


def test_the_clean_latents_are_those_of_the_training(tmp_path):
    model = cast("Stepwise", load_generator(ModelSpec(model="zoo:text-to-image", device="cpu")))
    index = np.arange(4)
    trained = cached_latents(model.pipe.vae, 4, tmp_path / "latents.safetensors").float()
    torch.testing.assert_close(clean_of(model, index), trained, atol=0.1, rtol=0)


def test_the_judges_know_real_pictures():
    from tuning.training.zoo.measure import judged

    first = 96 * (world.HELD_OUT // 96 + 1)  # shows what the first prompt says
    figures = judged(pictures(np.arange(first, first + 96)), WEIGHTS, "real")
    assert [figure.n for figure in figures] == [96] * 4
    assert all(figure.value > 0.95 for figure in figures)
