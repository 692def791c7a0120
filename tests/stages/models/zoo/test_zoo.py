import hashlib
import shutil

import numpy as np
import open_clip
import pytest
import timm
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open

from stages.models import zoo
from stages.models.zoo import world

MEGABYTE = 10**6


@pytest.fixture(scope="module")
def renders():
    index = np.arange(world.HELD_OUT, world.HELD_OUT + 48)
    x = torch.from_numpy(world.render(index)).permute(0, 3, 1, 2).float() / 255
    return (x - 0.5) / 0.25, torch.from_numpy(world.labels(index))


@pytest.mark.parametrize("name", zoo.NAMES)
class TestEveryModel:
    def test_passes_its_checksums(self, name):
        folder, sums = zoo.path(name), zoo.card(name).sha256
        assert {file: zoo.checksum(folder / file) for file in sums} == sums
        assert folder == zoo.WEIGHTS / name or zoo.card(name).shared

    def test_card_names_every_file(self, name):
        folder = zoo.WEIGHTS / name
        files = {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()}
        card = zoo.card(name)
        assert files == {*card.sha256, "card.json", "README.md"} - {*card.shared}

    def test_is_small(self, name):
        assert sum(f.stat().st_size for f in (zoo.WEIGHTS / name).rglob("*") if f.is_file()) < 12 * MEGABYTE

    def test_card_has_figures_with_intervals(self, name):
        card = zoo.card(name)
        assert card.name == name
        assert card.figures
        assert all(figure.low <= figure.value <= figure.high for figure in card.figures)

    def test_weights_are_finite(self, name):
        for file in zoo.path(name).rglob("*.safetensors"):
            with safe_open(file, "pt") as weights:
                assert all(weights.get_tensor(key).isfinite().all() for key in weights.keys())  # noqa: SIM118


def test_all_models_are_small_together():
    assert sum(f.stat().st_size for f in zoo.WEIGHTS.rglob("*") if f.is_file()) < 90 * MEGABYTE


@pytest.mark.parametrize("name", ["classifier", "judge"])
def test_timm_loads_the_classifiers(name, renders):
    model = timm.create_model(f"local-dir:{zoo.path(name)}", pretrained=True).eval()
    assert model.pretrained_cfg["input_size"] == (3, 64, 64)
    assert tuple(model.pretrained_cfg["label_names"]) == world.CLASSES
    x, label = renders
    with torch.no_grad():
        assert (model(x).argmax(dim=1) == label).float().mean() > 0.95


def test_open_clip_loads_the_clip(renders):
    where = f"local-dir:{zoo.path('clip')}"
    model, _, preprocess = open_clip.create_model_and_transforms(where)
    x, label = renders
    texts = open_clip.get_tokenizer(where)([world.caption(thing) for thing in world.CLASSES])
    with torch.no_grad():
        similar = model.eval().encode_image(x, normalize=True) @ model.encode_text(texts, normalize=True).T
    assert (similar.argmax(dim=1) == label).float().mean() > 0.95
    assert preprocess.transforms[0].size == 64


def test_diffusers_loads_the_text_to_image_model_unchanged():
    pipeline = StableDiffusionPipeline.from_pretrained(zoo.path("text-to-image"))
    pipeline.set_progress_bar_config(disable=True)
    assert next(pipeline.unet.parameters()).dtype == torch.float32
    made = pipeline(["a photo of a red circle"], num_inference_steps=2, output_type="np").images
    assert made.shape == (1, 64, 64, 3)


def test_the_text_encoder_is_the_clips_text_tower():
    where = f"local-dir:{zoo.path('clip')}"
    model, ids = open_clip.create_model(where).eval(), open_clip.get_tokenizer(where)(["a photo of an orange fish"])
    pipeline = StableDiffusionPipeline.from_pretrained(zoo.path("text-to-image"))
    theirs = pipeline.tokenizer("a photo of an orange fish", padding="max_length", return_tensors="pt").input_ids
    assert torch.equal(ids, theirs)
    with torch.no_grad():
        pooled = pipeline.text_encoder(ids).pooler_output @ model.text_projection
        torch.testing.assert_close(pooled, model.encode_text(ids), atol=0.02, rtol=0.01)  # one is in half precision


def test_judge_shares_no_weights_with_the_classifier():
    digests = []
    for name in ("classifier", "judge"):
        with safe_open(zoo.path(name) / "model.safetensors", "np") as weights:
            tensors = [weights.get_tensor(key) for key in weights.keys()]  # noqa: SIM118
        digests.append({hashlib.sha256(t.tobytes()).hexdigest() for t in tensors if t.size > 1})
    assert not digests[0] & digests[1]


def test_a_changed_file_is_refused(tmp_path, monkeypatch):
    shutil.copytree(zoo.WEIGHTS / "judge", tmp_path / "judge")
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
    file = tmp_path / "judge" / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match="should have SHA-256"):
        zoo.path.__wrapped__("judge")
    file.unlink()
    with pytest.raises(ValueError, match="is missing"):
        zoo.path.__wrapped__("judge")


def test_shared_files_are_put_together_in_the_cache_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = zoo.path.__wrapped__("latent-learned")
    assert folder.is_relative_to(tmp_path)
    encoder = folder / "text_encoder" / "model.safetensors"
    assert encoder.samefile(zoo.WEIGHTS / "text-to-image" / "text_encoder" / "model.safetensors")
    made = folder.stat().st_mtime_ns
    assert zoo.path.__wrapped__("latent-learned") == folder
    assert folder.stat().st_mtime_ns == made
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]


def test_a_cache_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ValueError, match="set XDG_CACHE_HOME to a folder of yours"):
        zoo.path.__wrapped__("latent-learned")


def test_a_file_system_without_links_gets_copies(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError

    monkeypatch.setattr(type(tmp_path), "symlink_to", refuse)
    zoo.link(tmp_path / "deep" / "card.json", zoo.WEIGHTS / "clip" / "card.json")
    assert not (tmp_path / "deep" / "card.json").is_symlink()
    assert (tmp_path / "deep" / "card.json").read_bytes() == (zoo.WEIGHTS / "clip" / "card.json").read_bytes()


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"text-to-image.*but 'resnet'"):
        zoo.card("resnet")
