import shutil
from pathlib import Path

import huggingface_hub
import pytest

from stages.models.source import HubId, commit, fingerprint, folder, hub_id, locate

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def model(folder_of, tmp_path):
    return Path(shutil.copytree(folder_of("stable_diffusion_1"), tmp_path / "model"))


def test_a_copy_has_the_same_fingerprint(model, folder_of):
    assert fingerprint(str(model)) == fingerprint(folder_of("stable_diffusion_1"))
    assert len(fingerprint(str(model))) == 32


@pytest.mark.parametrize(
    "file", ["unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json", "tokenizer/tokenizer.json"]
)
def test_what_determines_the_picture_changes_it(model, file):
    before = fingerprint(str(model))
    with (model / file).open("ab") as opened:
        opened.write(b" ")
    assert fingerprint(str(model)) != before


@pytest.mark.parametrize("file", ["README.md", "card.json", ".gitattributes", "sample.png"])
def test_what_stands_beside_the_model_does_not(model, file):
    before = fingerprint(str(model))
    (model / file).write_text("changed")
    assert fingerprint(str(model)) == before


def test_a_folder_without_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected weights in \*.safetensors, but found none"):
        fingerprint(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "hub"),
    [
        ("stabilityai/stable-diffusion-2-1-base", HubId("stabilityai/stable-diffusion-2-1-base", None)),
        ("hf-hub:a/b@main", HubId("a/b", "main")),
        ("a/b@refs/pr/1", HubId("a/b", "refs/pr/1")),
    ],
)
def test_hub_ids(text, hub):
    assert folder(text) is None
    assert hub_id(text) == hub


def test_a_commit_stands_for_itself():
    assert fingerprint(f"a/b@{COMMIT}") == COMMIT
    assert locate(f"a/b@{COMMIT}", "diffusers") == ("a/b", COMMIT)


def test_a_cached_hub_model_has_its_commit(monkeypatch, tmp_path):
    cache = tmp_path / "models--org--cached"
    snapshot = cache / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").write_text("{}")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    commit.cache_clear()
    assert fingerprint("org/cached") == COMMIT


def test_an_unknown_hub_model(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"'org/none@main': expected model_index.json on the hub or in"):
        fingerprint("org/none")


@pytest.mark.parametrize(
    ("model", "library", "package"),
    [
        ("resnet18.a1_in1k", "timm", "timm=="),
        ("torchvision:vit_h_14/IMAGENET1K_SWAG_E2E_V1", "timm", "torchvision=="),
        ("ViT-B-32/openai", "open_clip", "open_clip_torch=="),
    ],
)
def test_names_of_a_library_stand_for_its_version(model, library, package):
    assert fingerprint(model, library).startswith(package)
