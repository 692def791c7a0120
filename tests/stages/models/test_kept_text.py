"""Keys and values of the text that are kept within a draw: the same bits as without, never those of another text."""

from copy import deepcopy

import pytest
import torch
from diffusers import UNet2DConditionModel

from stages.models.kept_text import KeptLinear, keep_text


def unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=12,
        norm_num_groups=4,
        attention_head_dim=4,
    ).eval()


@pytest.fixture
def pair() -> tuple[UNet2DConditionModel, UNet2DConditionModel]:
    """A network that keeps, and the same one that does not."""
    plain = unet()
    kept = deepcopy(plain)
    keep_text(kept)
    return kept, plain


def text(seed: int) -> torch.Tensor:
    return torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(seed))


def answer(network: UNet2DConditionModel, words: torch.Tensor, t: int = 500) -> torch.Tensor:
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(t))
    return network(x, torch.tensor(t), words, return_dict=False)[0]


def test_no_bit_changes_over_steps_and_texts(pair):
    kept, plain = pair
    with torch.inference_mode():
        for words in (text(1), text(2), text(1)):
            for t in (900, 500, 100):
                assert torch.equal(answer(kept, words, t), answer(plain, words, t))


def test_a_text_is_projected_once(pair, monkeypatch):
    kept, _ = pair
    layers, seen = [m for m in kept.modules() if isinstance(m, KeptLinear)], []
    monkeypatch.setattr(torch.nn.Linear, "forward", counted(torch.nn.Linear.forward, seen))
    with torch.inference_mode():
        words = text(1)
        for t in (900, 500):
            answer(kept, words, t)
    assert layers
    assert [seen.count(layer) for layer in layers] == [1] * len(layers)


def counted(forward, seen):
    def count(self, x):
        seen.append(self)
        return forward(self, x)

    return count


def test_weights_that_change_outside_inference_count(pair):
    """As when a student learns: one text, several updates."""
    kept, plain = pair
    words = text(1)
    with torch.inference_mode():
        answer(kept, words)
    with torch.no_grad():
        for network in pair:
            for weight in network.parameters():
                weight.mul_(1.5)
        assert torch.equal(answer(kept, words), answer(plain, words))


def test_gradients_pass_through_to_the_text(pair):
    kept, plain = pair
    slopes = []
    for network in (kept, plain):
        words = text(1).requires_grad_()
        answer(network, words).square().sum().backward()
        slopes.append(words.grad)
    assert torch.equal(*slopes)
    assert slopes[0].abs().sum() > 0


def test_a_copy_keeps_for_itself_and_saves_the_same_weights(pair):
    kept, plain = pair
    with torch.inference_mode():
        answer(kept, words := text(1))
    copy = deepcopy(kept)
    assert copy.state_dict().keys() == plain.state_dict().keys()
    with torch.no_grad():
        for weight in copy.parameters():
            weight.mul_(1.5)
    with torch.inference_mode():
        assert torch.equal(answer(kept, words), answer(plain, words))
        assert not torch.equal(answer(copy, words), answer(plain, words))
