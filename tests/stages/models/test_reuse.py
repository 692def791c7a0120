"""What a U-Net works out once: the same answers as without, never those of another text, half of the work asked for."""

from copy import deepcopy

import pytest
import torch

from stages.models.reuse import ReusingAttention, both_branches, reuse
from stages.sampling.loop import guided
from tests.stages.models.tiny import unet

WIDTH = 32
FEW, MANY = 77, 3  # words, beside which 64, 16 and 4 queries are few or many


def network(**settings: object):
    torch.manual_seed(0)
    return unet(**settings).eval()


@pytest.fixture
def pair():
    """A network that reuses, and the same one that does not."""
    plain = network()
    reusing = deepcopy(plain)
    reuse(reusing)
    return reusing, plain


def text(seed, words=MANY, rows=2):
    return torch.randn(rows, words, WIDTH, generator=torch.Generator().manual_seed(seed))


def answer(network, words, t=500, **told):
    rows = torch.randn(len(words), 4, 8, 8, generator=torch.Generator().manual_seed(t))
    return network(rows, torch.tensor(t), words, return_dict=False, **told)[0]


def branches(network, without, words, t=500, **told):
    """Ask as guidance does: the same rows without a prompt and with theirs."""
    rows = torch.randn(len(words), 4, 8, 8, generator=torch.Generator().manual_seed(t))
    both = torch.cat([without.expand_as(words), words])
    return network(torch.cat([rows, rows]), torch.tensor(t), both, return_dict=False, **told)[0]


def close(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=2e-6)


@pytest.mark.parametrize("words", [FEW, MANY])
def test_it_answers_as_without_over_steps_and_texts(pair, words):
    reusing, plain = pair
    with torch.inference_mode():
        for prompts in (text(1, words), text(2, words), text(1, words)):
            for t in (900, 500, 100):
                found, expected = answer(reusing, prompts, t), answer(plain, prompts, t)
                close(found, expected)
                assert words == FEW or torch.equal(found, expected)  # few queries alone attend another way


@pytest.mark.parametrize("words", [FEW, MANY])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "layers_per_block": 2},
        {"only_cross_attention": True},
        {"use_linear_projection": True, "transformer_layers_per_block": 2},
        {"class_embed_type": "identity", "projection_class_embeddings_input_dim": 32},
    ],
)
def test_branches_get_what_they_would_get_apart(settings, words):
    plain = network(**settings)
    reusing = deepcopy(plain)
    reuse(reusing)
    told = {"class_labels": text(4, 1, 6)[:, 0]} if "class_embed_type" in settings else {}
    with torch.inference_mode():
        expected = branches(plain, text(3, words, 1), text(1, words, 3), **told)
        with both_branches():
            found = branches(reusing, text(3, words, 1), text(1, words, 3), **told)
    close(found, expected)
    assert not torch.allclose(found[:3], found[3:], atol=1e-3)


def test_a_text_is_projected_once_and_no_prompt_as_one_row(pair, monkeypatch):
    reusing, _ = pair
    seen = []
    monkeypatch.setattr(ReusingAttention, "_keys_and_values", counted(ReusingAttention._keys_and_values, seen))
    crossing = [m for name, m in reusing.named_modules() if name.endswith("attn2")]
    with torch.inference_mode(), both_branches():
        words = torch.cat([text(3, rows=1).expand(3, -1, -1), text(1, rows=3)])
        for t in (900, 500):
            answer(reusing, words, t)
    assert crossing
    for layer in crossing:
        assert [rows for asked, rows in seen if asked is layer] == [1, 3]


def counted(project, seen):
    def count(self, states):
        seen.append((self, len(states)))
        return project(self, states)

    return count


def test_what_runs_before_the_text_runs_for_half_of_the_rows(pair):
    reusing, _ = pair
    parts = {
        "conv_in": reusing.conv_in,
        "first block": reusing.down_blocks[0].resnets[0],
        "second block": reusing.down_blocks[1].resnets[0].conv1,
        "self-attention": reusing.down_blocks[1].attentions[0].transformer_blocks[0].attn1.to_q,
        "after the text": reusing.mid_block.resnets[0],
    }
    rows = {}

    def note(part, _, answer):
        rows[next(name for name in parts if parts[name] is part)] = len(answer)

    for part in parts.values():
        part.register_forward_hook(note)
    with torch.inference_mode(), both_branches():
        branches(reusing, text(3, rows=1), text(1, rows=3))
    assert rows == dict.fromkeys(parts, 3) | {"conv_in": 6, "after the text": 6}  # what conv_in gives is doubled


def test_a_network_that_is_told_more_than_the_text_runs_whole():
    """As Stable Diffusion XL, whose time step carries the prompt as well: its branches differ from the start."""
    told = network(class_embed_type="timestep")
    reuse(told)
    rows = []
    told.conv_in.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    with torch.inference_mode(), both_branches():
        branches(told, text(3, rows=1), text(1, rows=3), class_labels=torch.arange(6))
    assert rows == [6]
    assert not told.conv_in._forward_hooks


def test_guidance_asks_for_both_branches_at_once():
    asked = []

    class Branching:
        def predict(self, x, t, condition):  # noqa: ARG002
            raise AssertionError

        def predict_branches(self, x, t, both):  # noqa: ARG002
            asked.append((len(x), both["text"].tolist()))
            return tuple(x * rows for rows in both["text"].chunk(2))

    predict = guided(Branching(), {"text": torch.full((2, 1, 1, 1), 3.0)}, {"text": torch.ones(2, 1, 1, 1)}, 2.0)
    assert predict(torch.ones(2, 1, 1, 1), torch.tensor(5)).flatten().tolist() == [5.0, 5.0]
    assert asked == [(2, [[[[1.0]]], [[[1.0]]], [[[3.0]]], [[[3.0]]]])]


def test_weights_that_change_outside_inference_count(pair):
    """As when a student learns: one text, several updates."""
    reusing, plain = pair
    words = text(1)
    with torch.inference_mode():
        answer(reusing, words)
    with torch.no_grad():
        for network in pair:
            for weight in network.parameters():
                weight.mul_(1.5)
        assert torch.equal(answer(reusing, words), answer(plain, words))


def test_gradients_pass_through_to_the_text_of_both_branches(pair):
    slopes = []
    for network in pair:
        words, without = text(1).requires_grad_(), text(3, rows=1).requires_grad_()
        with both_branches():
            branches(network, without, words).square().sum().backward()
        slopes.append((words.grad, without.grad))
    for ours, theirs in zip(*slopes, strict=True):
        assert torch.equal(ours, theirs)
        assert ours.abs().sum() > 0


def test_a_mask_and_training_get_the_layer_as_it_was(pair):
    mask = torch.tensor([[1, 0, 0], [1, 1, 0]])
    with torch.inference_mode():
        masked = [answer(network, text(1), encoder_attention_mask=mask) for network in pair]
        assert torch.equal(*masked)
        assert not torch.allclose(masked[0], answer(pair[0], text(1)))
    trained = network(dropout=0.5).train()
    reuse(trained)
    with torch.inference_mode():
        assert not torch.equal(answer(trained, text(1)), answer(trained, text(1)))


def test_half_precision_is_rounded_no_more_than_without(pair):
    reusing, plain = (network.to(torch.bfloat16) for network in pair)
    words = text(1, FEW).bfloat16()
    rows = torch.randn(2, 4, 8, 8).bfloat16()
    with torch.inference_mode():
        found, expected = (n(rows, torch.tensor(500), words, return_dict=False)[0] for n in (reusing, plain))
    assert torch.equal(found, expected)


def test_a_copy_keeps_for_itself_and_saves_the_same_weights(pair):
    reusing, plain = pair
    with torch.inference_mode():
        answer(reusing, words := text(1))
    copy = deepcopy(reusing)
    reuse(copy)  # as when a student starts from its teacher
    assert copy.state_dict().keys() == plain.state_dict().keys()
    with torch.inference_mode(), both_branches():
        found = branches(copy, text(3, rows=1), text(1, rows=3))
        close(found, branches(plain, text(3, rows=1), text(1, rows=3)))
    with torch.no_grad():
        for weight in copy.parameters():
            weight.mul_(1.5)
    with torch.inference_mode():
        assert torch.equal(answer(reusing, words), answer(plain, words))
        assert not torch.allclose(answer(copy, words), answer(plain, words))


def test_elsewhere_than_on_a_cpu_nothing_changes():
    away = network().to("meta")
    reuse(away)
    assert not any(isinstance(m, ReusingAttention) or m._forward_hooks for m in away.modules())
