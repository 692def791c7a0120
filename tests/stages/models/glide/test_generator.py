"""GLIDE drawn through the seam, against the published sampling loops restated number by number."""

import math
from itertools import pairwise

import pytest
import torch

from stages.models.generator import step_noise
from stages.models.second_stage import own_noise
from stages.sampling import SamplerSpec
from stages.sampling.upsampling import Upsampling
from tests.stages.models.glide import published

PUBLISHED = {"scheduler": "model", "steps": 100, "guidance": 3.0}


def signal(schedule):
    """Alpha-bar of the training steps."""
    if schedule == "cosine":
        bars = [math.cos((n / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for n in range(1001)]
        betas = [min(1 - after / before, 0.999) for before, after in pairwise(bars)]
    else:
        betas = torch.linspace(0.0001, 0.02, 1000, dtype=torch.float64).tolist()
    return torch.cumprod(1 - torch.tensor(betas, dtype=torch.float64), 0)


def respaced(count):
    """The respacing "count": one section, from the first step to the last."""
    at, steps = 0.0, []
    for _ in range(count):
        steps.append(round(at))
        at += 999 / (count - 1)
    return steps


def ancestral(answer, bar, steps, x, noise, guidance):
    """`p_sample_loop` with guidance: clipped, learned variance, no noise in the last step."""
    bars = [1.0, *bar[steps].tolist()]
    beta = [1 - after / before for before, after in pairwise(bars)]
    tilde = [b * (1 - before) / (1 - after) for b, (before, after) in zip(beta, pairwise(bars), strict=True)]
    for i in reversed(range(len(steps))):
        prompt, none = answer(x, steps[i], conditional=True), answer(x, steps[i], conditional=False)
        eps = none[:, :3] + guidance * (prompt[:, :3] - none[:, :3])
        share = (prompt[:, 3:] + 1) / 2
        a, before = bars[i + 1], bars[i]
        clean = ((x - (1 - a) ** 0.5 * eps) / a**0.5).clamp(-1, 1)
        mean = before**0.5 * beta[i] / (1 - a) * clean + (1 - beta[i]) ** 0.5 * (1 - before) / (1 - a) * x
        x = mean
        if i > 0:
            log = share * math.log(beta[i]) + (1 - share) * math.log(tilde[max(i, 1)])
            drawn = torch.stack([torch.randn(x.shape[1:], generator=one) for one in noise])
            x = mean + (log / 2).exp() * drawn
    return x


def deterministic(answer, bar, steps, x):
    """`ddim_sample_loop` with eta 0: epsilon derived again from the clipped clean picture."""
    bars = [1.0, *bar[steps].tolist()]
    for i in reversed(range(len(steps))):
        a, before = bars[i + 1], bars[i]
        clean = ((x - (1 - a) ** 0.5 * answer(x, steps[i])[:, :3]) / a**0.5).clamp(-1, 1)
        eps = (x / a**0.5 - clean) / (1 / a - 1) ** 0.5
        x = before**0.5 * clean + (1 - before) ** 0.5 * eps
    return x


def base_of(prompt):
    weights, o = published.checkpoint(published.TINY), published.TINY
    told = {True: published.padded(o, prompt), False: published.padded(o, "")}

    def answer(x, t, conditional=True):
        return torch.cat([published.answer(weights, o, row[None], t, *told[conditional]) for row in x])

    return answer


def latents(rows=2):
    return torch.randn(rows, 3, 8, 8, generator=torch.Generator().manual_seed(5))


def noise(rows=2):
    return [step_noise(seed) for seed in range(rows)]


def centred(pictures):
    return pictures.permute(0, 3, 1, 2) * 2 - 1


def test_the_base_draws_as_published(generator_of):
    """Guidance 3, respacing "100", ancestral with the learned variance of the conditional branch."""
    x = latents()
    ours = generator_of("glide").draw(x, ["The cat"] * 2, SamplerSpec(**PUBLISHED), noise())
    theirs = ancestral(base_of("the cat"), signal("cosine"), respaced(100), x, noise(), 3.0)
    torch.testing.assert_close(centred(ours), theirs, atol=2e-3, rtol=1e-3)
    assert theirs.std() > 0.1


def test_ddim_draws_as_published(generator_of):
    x = latents()
    spec = SamplerSpec(scheduler="ddim", steps=30, guidance=1)
    ours = generator_of("glide").draw(x, ["the cat"] * 2, spec, noise())
    theirs = deterministic(base_of("the cat"), signal("cosine"), respaced(30), x)
    torch.testing.assert_close(centred(ours), theirs, atol=2e-3, rtol=1e-3)


def test_the_second_stage_draws_as_published(generator_of):
    """`fast27`, DDIM, no guidance, temperature 0.997, over the first stage's picture as it would be saved."""
    generator, x = generator_of("glide"), latents(1)
    spec = SamplerSpec(**PUBLISHED | {"steps": 10}, upsampling=Upsampling())
    ours = generator.draw(x, ["the cat"], spec, noise(1))
    small = centred(generator.draw(x, ["the cat"], spec.model_copy(update={"upsampling": None}), noise(1)))
    small = ((small.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
    weights, o = published.checkpoint(published.TINY_UPSAMPLER, 1), published.TINY_UPSAMPLER

    def answer(x, t):
        return published.answer(weights, o, x, t, *published.padded(o, "the cat"), low_res=small)

    parts = [(0, 10), (200, 10), (400, 3), (600, 2), (800, 2)]
    steps = [start + round(i * 199 / (count - 1)) for start, count in parts for i in range(count)]
    steps = [*steps[:-1], 997]
    start = torch.stack([torch.randn(3, 16, 16, generator=one) for one in own_noise(noise(1))]) * 0.997
    theirs = deterministic(answer, signal("linear"), steps, start)
    torch.testing.assert_close(centred(ours), theirs, atol=2e-3, rtol=1e-3)
    assert ours.shape == (1, 16, 16, 3)


@pytest.mark.parametrize("text", ["the cat", "A CAT the cat", "xyz", "the cats catch thee"])
def test_byte_pairs_are_those_of_the_published_tokenizer(generator_of, text):
    generator = generator_of("glide")
    assert generator.pipe.tokenizer(text.lower()).input_ids == published.encode(text)


def test_what_the_network_does_not_see_is_said(generator_of):
    generator = generator_of("glide")
    assert generator.truncated("the cat") is None
    assert generator.truncated("THE " + "x" * 9) == "xxx"


def test_a_size_that_its_levels_cannot_halve(generator_of):
    with pytest.raises(ValueError, match="size_px of this model must be a multiple of 2, but is 9"):
        generator_of("glide").check(SamplerSpec(size_px=9))
