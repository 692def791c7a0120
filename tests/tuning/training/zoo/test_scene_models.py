"""The models of scenes: their words, what they are told in training, and how they load."""

import json

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from transformers import AutoModelForCausalLM, AutoTokenizer

from stages.models.zoo import NAMES, card, scenes, sentences, world
from stages.models.zoo.sentences import VALUES
from tests.tuning.training.zoo.test_loop import LOOP, clip, language_model, scene_clip, scene_text_to_image, vae
from tuning.training.zoo import lineage
from tuning.training.zoo.cards import _data
from tuning.training.zoo.clip import tokenize
from tuning.training.zoo.data import pictures
from tuning.training.zoo.language_model import said, surprises
from tuning.training.zoo.loop import generator
from tuning.training.zoo.settings import SETTINGS
from tuning.training.zoo.text_to_image import TextToImageSpec
from tuning.training.zoo.tokenizer import CONTEXT, WORDS, TokenizerSpec, write
from tuning.training.zoo.train import halve
from tuning.training.zoo.vae import VaeRecipe, VaeSpec

INDEX = np.arange(world.HELD_OUT, world.HELD_OUT + 5000)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    return write(tmp_path_factory.mktemp("tokens"), TokenizerSpec())


def test_each_word_of_a_caption_is_one_token_and_captions_fit_the_context(tokens):
    captions = scenes.captions(INDEX)
    assert {word for text in captions for word in text.split()} <= set(WORDS)
    ids = tokens(captions).input_ids
    assert [len(row) for row in ids] == [len(text.split()) + 2 for text in captions]
    assert max(map(len, ids)) <= CONTEXT


def test_the_longest_text_of_the_grammar_fits_the_context(tokens):
    """And no word of the grammar is strange to the vocabulary, which is as large as it was."""
    endings = " ".join(max(phrases, key=lambda text: len(text.split())) for phrases in sentences.ENDINGS)
    assert len(tokens(f"a photo of three small purple triangles {endings}").input_ids) <= CONTEXT
    words = {word for known in VALUES.values() for text in known for word in text.split()}
    assert words | set(sentences.PLURALS.values()) <= set(WORDS)
    assert len(tokens) == 761


def test_a_clip_of_scenes_learns_from_all_that_is_true(tmp_path):
    recipe = scene_clip(tmp_path)
    index = np.arange(8)
    captions, true = recipe._said(index, 0)
    assert captions == scenes.captions(index)
    np.testing.assert_array_equal(true.numpy(), scenes.true_of(index, scenes.claims(index)))
    things, alike = clip(tmp_path)._said(index, 0)
    assert things[0] in {"a photo of a red circle", "a photo of a circle"}
    assert alike.diagonal().all()


def test_a_model_of_scenes_hears_the_captions_of_its_pictures(tmp_path):
    """A tenth of them empty, and the same states as by itself."""
    recipe = scene_text_to_image(tmp_path)
    prompts = recipe.prompts
    ids = prompts(np.arange(2000), generator(0, "captions"))
    silent = (ids == tokenize(prompts.tokens, [""])).all(dim=1)
    assert silent.float().mean() == pytest.approx(0.1, abs=0.03)
    said_to = [text for text, empty in zip(scenes.captions(range(2000)), silent.tolist(), strict=True) if not empty]
    assert torch.equal(ids[~silent], tokenize(prompts.tokens, said_to))
    states = prompts.states(ids[:4])
    assert not states.requires_grad
    torch.testing.assert_close(states[2:3], prompts.states(ids[2:3]))


def test_an_autoencoder_of_scenes_starts_from_that_of_things(tmp_path):
    """Saved at once, it reconstructs as that one does: only the scale of the latents follows the scenes."""
    things = vae(tmp_path)
    things.save(things.module, tmp_path / "vae")
    spec = VaeSpec(channels=(8, 8, 8), grammar="scene", trunk="vae", images=24, loop=LOOP)
    scene = VaeRecipe(spec, start=tmp_path / "vae")
    scene.save(scene.module, tmp_path / "scenes-vae")
    x = pictures(np.arange(24), "scene") * 2 - 1
    latents, drawn = [], []
    for name in ("vae", "scenes-vae"):
        model = AutoencoderKL.from_pretrained(tmp_path / name)
        with torch.no_grad():
            latents.append(model.encode(x).latent_dist.mean)
            drawn.append(model.decode(latents[-1]).sample)
    torch.testing.assert_close(drawn[0], drawn[1], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(latents[1].std(dim=(0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)
    assert torch.isfinite(scene.loss(0))


def test_scenes_are_latent():
    with pytest.raises(ValueError, match="grammar='scene': expected space='latent'"):
        TextToImageSpec(channels=(8,), grammar="scene", space="pixel", loop=LOOP)


def test_a_language_model_loads_as_transformers_load_any(tmp_path):
    """In half precision too, as it ships: the same numbers, up to their rounding."""
    recipe = language_model(tmp_path)
    recipe.save(recipe.module, tmp_path / "lm")
    halve(tmp_path / "lm" / "model.safetensors")
    model, tokens = (auto.from_pretrained(tmp_path / "lm") for auto in (AutoModelForCausalLM, AutoTokenizer))
    assert next(model.parameters()).dtype == torch.float32
    texts = scenes.captions(range(6))
    ids = tokens(texts, padding="max_length", max_length=CONTEXT, return_tensors="pt").input_ids
    assert torch.equal(ids, tokenize(recipe.tokens, texts))
    assert tokens.batch_decode(ids, skip_special_tokens=True) == texts
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(ids).logits, recipe.module.eval()(ids).logits, atol=5e-3, rtol=1e-2)


def test_the_surprise_of_a_caption_is_that_of_its_tokens_in_turn(tmp_path):
    recipe = language_model(tmp_path)
    module = recipe.module.eval()
    ids = tokenize(recipe.tokens, ["a photo of a red star", "a photo of two stars at the top"])
    with torch.no_grad():
        found = (surprises(module(ids).logits, ids) * said(ids)).sum(dim=1)
        for row, total in zip(ids, found, strict=True):
            text = row[: int((row == row[-1]).int().argmax()) + 1]
            step = [-module(text[None, :n]).logits[0, -1].log_softmax(0)[text[n]] for n in range(1, len(text))]
            assert total.item() == pytest.approx(sum(step).item(), rel=1e-4)
    assert said(ids).sum(dim=1).tolist() == [7, 9]


@pytest.mark.parametrize("name", NAMES)
def test_settings_and_cards_of_what_ships_stay_as_they_were(name):
    """New fields do not show where they are at rest."""
    shipped = card(name)
    for part, settings in shipped.settings.items():
        assert json.loads(SETTINGS[part].canonical()).keys() == settings.keys()
    assert shipped.data == _data(lineage(name))
