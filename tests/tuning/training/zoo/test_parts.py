import json

import numpy as np
import open_clip
import pytest
import torch

from stages.models.zoo import NAMES, WEIGHTS, world
from tests.tuning.training.zoo.test_loop import clip, vae
from tuning.training.zoo import PARTS, lineage
from tuning.training.zoo.augment import AugmentSpec, augment
from tuning.training.zoo.clip import captions, text_model, tokenize, true_of
from tuning.training.zoo.data import indices, pictures
from tuning.training.zoo.loop import generator
from tuning.training.zoo.settings import SETTINGS
from tuning.training.zoo.text_to_image import TextToImageSpec
from tuning.training.zoo.tokenizer import TokenizerSpec, write
from tuning.training.zoo.train import forget_place, halve, train
from tuning.training.zoo.vae import normalise_latents


def test_everything_that_ships_can_be_trained():
    assert set(NAMES) <= set(PARTS) == set(SETTINGS)
    assert lineage("text-to-image") == ("vae", "classifier", "clip", "latent-trunk", "text-to-image")


def test_training_never_sees_held_out_renders():
    for spec in SETTINGS.values():
        assert spec.images <= world.HELD_OUT
        assert indices(spec.loop.steps - 1, spec.loop.batch, spec.images).max() < world.HELD_OUT


def test_an_unknown_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"can train classifier, .*but 'unet' was asked for"):
        train("unet", tmp_path)


def test_augmentation_is_seeded_clipped_and_strong():
    x = pictures(np.arange(24))
    one, again, other = (augment(x, AugmentSpec(), generator(seed, "augment")) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.min() >= 0
    assert one.max() <= 1
    assert (one - x).abs().mean() > 0.05


def test_augmentation_at_share_zero_is_the_identity():
    x = pictures(np.arange(8))
    assert torch.equal(augment(x, AugmentSpec(share=0), generator(0, "augment")), x)


def test_latents_are_normalised_without_a_change_to_pictures(tmp_path):
    model, x = vae(tmp_path).module.eval(), pictures(np.arange(96)) * 2 - 1
    with torch.no_grad():
        before = model.encode(x).latent_dist
        drawn = model.decode(before.mean + before.std).sample
        scale = before.mean.std(dim=(0, 2, 3))
        normalise_latents(model, x)
        after = model.encode(x).latent_dist
        torch.testing.assert_close(after.mean.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
        torch.testing.assert_close(after.mean.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)
        torch.testing.assert_close(after.std * scale[:, None, None], before.std, atol=1e-5, rtol=1e-3)
        torch.testing.assert_close(model.decode(after.mean + after.std).sample, drawn, atol=1e-3, rtol=1e-3)


def test_each_word_of_a_caption_is_one_token(tmp_path):
    tokens = write(tmp_path, TokenizerSpec())
    for text in world.captions(range(96)):
        assert len(tokens.tokenize(text)) == len(text.split())
    assert tokens.decode(tokens("A Photo of an ORANGE fish").input_ids, skip_special_tokens=True) == (
        "a photo of an orange fish"
    )


def test_captions_are_true_of_what_they_name():
    index, plain = np.array([0, 96, 12, 1]), torch.tensor([False, True, False, False])
    assert captions(index, plain)[:2] == ["a photo of a red circle", "a photo of a circle"]
    assert true_of(index, plain).int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]


def test_transformers_text_tower_is_open_clips(tmp_path):
    recipe = clip(tmp_path)
    recipe.save(recipe.module, tmp_path / "clip")
    model = open_clip.create_model(f"local-dir:{tmp_path / 'clip'}").eval()
    ids = tokenize(recipe.tokens, ["a photo of a red circle", "", "a photo of an arrow"])
    with torch.no_grad():
        pooled = text_model(tmp_path / "clip")(ids).pooler_output @ model.text_projection
        torch.testing.assert_close(pooled, model.encode_text(ids), atol=1e-5, rtol=1e-5)


def test_halved_weights_are_the_nearest_half_numbers(tmp_path):
    from safetensors.torch import load_file, save_file

    save_file({"a": torch.tensor([1.0001, 2.5]), "n": torch.tensor([3])}, tmp_path / "w.safetensors")
    halve(tmp_path / "w.safetensors")
    out = load_file(tmp_path / "w.safetensors")
    assert out["a"].tolist() == [1.0, 2.5]
    assert out["a"].dtype == torch.float16
    assert out["n"].dtype == torch.int64


def test_time_steps_are_spread_evenly(tmp_path):
    from tests.tuning.training.zoo.test_loop import text_to_image

    recipe = text_to_image(tmp_path)
    assert isinstance(recipe.spec, TextToImageSpec)
    times = recipe._times(generator(0, "times"))
    assert sorted((times * 8 // 1000).tolist()) == list(range(8))


def test_what_ships_forgets_the_machine_that_it_was_made_on(tmp_path):
    file = tmp_path / "config.json"
    file.write_text('{"_name_or_path": "/home/someone/vae", "sample_size": 64}')
    forget_place(file)
    assert json.loads(file.read_text()) == {"sample_size": 64}
    for shipped in (*WEIGHTS.rglob("*.json"), *WEIGHTS.rglob("*.md")):
        assert "_name_or_path" not in shipped.read_text()
