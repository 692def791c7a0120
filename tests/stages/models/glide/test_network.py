"""The network against the published forward pass, restated in plain functions."""

import pytest
import torch

from stages.models.glide.files import load_networks
from stages.models.glide.network import Glide
from stages.models.glide.options import BASE, UPSAMPLER
from tests.stages.models.glide import published
from tests.stages.models.glide.models import converted


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    files = tmp_path_factory.mktemp("published")
    published.write(files)
    return load_networks(converted(files, files / "ours"))


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("t", [0, 1, 500, 999])
@pytest.mark.parametrize("text", ["the cat", "", "a much longer text than fits"])
def test_the_base_answers_as_published(networks, t, text):
    tokens, mask = published.padded(published.TINY, text)
    x = drawn(1, 3, 8, 8)
    ours = networks["base"](x, torch.tensor(t), networks["base"].text(tokens, mask))
    theirs = published.answer(published.checkpoint(published.TINY), published.TINY, x, t, tokens, mask)
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)
    assert theirs.std() > 0.1
    assert ours.shape == (1, 6, 8, 8)


def test_the_upsampler_answers_as_published(networks):
    o = published.TINY_UPSAMPLER
    tokens, mask = (torch.cat(parts) for parts in zip(*(published.padded(o, t) for t in ("cat", "")), strict=True))
    x, small = drawn(2, 3, 16, 16), drawn(2, 3, 8, 8)
    theirs = published.answer(published.checkpoint(o, 1), o, x, 321, tokens, mask, low_res=small)
    large = torch.nn.functional.interpolate(small, 16, mode="bilinear", align_corners=False)
    network = networks["upsampler"]
    ours = network(torch.cat([x, large], dim=1), torch.tensor(321), network.text(tokens, mask))
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


def test_half_precision_answers_nearly_the_same(networks):
    tokens, mask = published.padded(published.TINY, "the cat")
    x, network = drawn(1, 3, 8, 8), networks["base"]
    single = network(x, torch.tensor(7), network.text(tokens, mask))
    network.to(torch.bfloat16)
    try:
        half = network(x.bfloat16(), torch.tensor(7), network.text(tokens, mask))
    finally:
        network.to(torch.float32)
    assert half.dtype == torch.bfloat16
    assert (half.float() - single).abs().mean() < 0.1 * single.std()


def test_the_published_sizes():
    """As many numbers as users of the published checkpoints count: `sum(x.numel() for x in model.parameters())`."""
    with torch.device("meta"):
        counts = [sum(weight.numel() for weight in Glide(options).parameters()) for options in (BASE, UPSAMPLER)]
    assert counts == [385_030_726, 398_361_286]
