import numpy as np
import open_clip
import PIL.Image
import pytest
import torch

from stages.models.clip import load_clip
from stages.models.spec import ModelSpec
from tests.stages.models.test_classifiers import pictures

PROMPTS = ["a photo of a red cat", "a photo of a blue dog", "a photo of a red cat"]


@pytest.mark.parametrize("sizes", [[(32, 32)] * 3, [(64, 64), (32, 32), (40, 60)]], ids=str)
def test_cosines_are_open_clips(clip_folder, sizes):
    images = pictures(*sizes)
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{clip_folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{clip_folder}")(PROMPTS)
    clip = load_clip(ModelSpec(model=str(clip_folder)))
    x = torch.stack([transform(PIL.Image.fromarray(image)) for image in images])
    assert torch.equal(clip.preprocess(images), x)
    with torch.inference_mode():
        a, b = (model.eval().encode_image(x), model.encode_text(tokens))
        expected = torch.nn.functional.cosine_similarity(a, b)
    torch.testing.assert_close(clip.cosine(images, PROMPTS), expected)


def test_text_is_encoded_once_per_prompt(clip_folder, monkeypatch):
    clip, calls = load_clip(ModelSpec(model=str(clip_folder))), []
    encode = clip.network.encode_text
    monkeypatch.setattr(clip.network, "encode_text", lambda tokens: calls.append(1) or encode(tokens))
    for _ in range(2):
        clip.cosine(pictures((32, 32), (32, 32), (32, 32)), PROMPTS)
    assert len(calls) == 2


def refused(model, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        load_clip(ModelSpec(model=str(model)))
    assert "\n" not in str(caught.value)


def test_unknown_and_unreadable_models(tmp_path):
    refused("ViT-B-32/nobody", "no weights 'nobody' for 'ViT-B-32', for which open_clip knows .*openai")
    refused("no_such", "no weights '' for 'no_such', for which open_clip knows")
    refused(tmp_path, r"no \*.safetensors in")
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    refused(tmp_path, "expected readable weights, but found: ")


def test_embeddings_have_unit_norm(clip_folder):
    clip = load_clip(ModelSpec(model=str(clip_folder)))
    norms = clip.pictures(pictures((32, 32), (50, 50))).norm(dim=1)
    np.testing.assert_allclose(norms, 1, rtol=1e-6)
