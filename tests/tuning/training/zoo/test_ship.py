"""A model of two trainings: trained, put together, and shipped with its card."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from stages.models.loading import load_generator
from stages.models.source import fingerprint
from stages.models.spec import ModelSpec
from stages.models.zoo import WEIGHTS, Card
from tests.tuning.training.zoo.test_loop import LOOP
from tuning.training.zoo import lineage
from tuning.training.zoo.classifier import ClassifierSpec
from tuning.training.zoo.clip import ClipSpec
from tuning.training.zoo.settings import SETTINGS
from tuning.training.zoo.text_to_image import TextToImageSpec
from tuning.training.zoo.train import assemble, run, train
from tuning.training.zoo.upsampler import UpsamplerSpec
from tuning.training.zoo.vae import VaeSpec

QUICK = LOOP.model_copy(update={"steps": 2, "batch": 4})
U_NET = {"heads": 2, "images": 24, "loop": QUICK}
LONGER = U_NET | {"loop": QUICK.model_copy(update={"steps": 4})}
TINY = {
    "classifier": ClassifierSpec(architecture="test_resnet", images=24, loop=QUICK),
    "clip": ClipSpec(width=32, layers=1, heads=2, images=24, loop=QUICK),
    "vae": VaeSpec(channels=(8, 8, 8), images=24, crop_share=0.5, loop=QUICK),
    "upsampler": UpsamplerSpec(channels=(8, 8, 8, 8), deepest=1, **U_NET),
    "latent-trunk": TextToImageSpec(channels=(8, 16), **U_NET),
    "latent-learned": TextToImageSpec(channels=(8, 16), variance="learned_range", shared_steps=2, **LONGER),
    "pixel-trunk": TextToImageSpec(channels=(8, 16), space="pixel", **U_NET),
    "pixel-learned": TextToImageSpec(
        channels=(8, 16), space="pixel", variance="learned_range", shared_steps=2, **LONGER
    ),
}


@pytest.fixture
def tiny(monkeypatch):
    for name, spec in TINY.items():
        monkeypatch.setitem(SETTINGS, name, spec)


def test_a_part_is_trained_for_itself_and_put_into_the_model_s_folder(tiny, tmp_path):  # noqa: ARG001
    work, weights = tmp_path / "work", tmp_path / "weights"
    assert train("upsampler", work, weights) == work / "upsampler"
    assert not weights.exists()
    assert {file.stem for file in work.glob("*.pt")} == set(lineage("upsampler"))
    for part in ("pixel-trunk", "pixel-learned"):
        run(part, work, "cpu")
    assemble("pixel-learned", work, tmp_path / "model")
    generator = load_generator(ModelSpec(model=str(tmp_path / "model"), device="cpu"))
    assert generator.second.side_px == 64
    assert generator.latent_shape(None) == (3, 16, 16)
    assert all(x.dtype == torch.float32 for x in generator.pipe.unet.parameters())
    assert not any("_name_or_path" in file.read_text() for file in (tmp_path / "model").rglob("*.json"))


def test_a_model_is_built_on_the_parts_that_ship(tiny, tmp_path):  # noqa: ARG001
    """Bit for bit: the text encoder and the autoencoder are those of the weights, and only the rest is trained."""
    weights = tmp_path / "weights"
    for place in ("classifier", "clip", "text-to-image/vae"):
        shutil.copytree(WEIGHTS / place, weights / place)
    work = tmp_path / "work"
    folder = train("latent-trunk", work, weights)
    assert {file.stem for file in work.glob("*.pt")} == {"latent-trunk"}
    assert (work / "clip" / "merges.txt").read_bytes() == (WEIGHTS / "clip" / "merges.txt").read_bytes()
    assemble("latent-trunk", work, tmp_path / "model")
    for part in ("vae", "text_encoder"):
        file = next((tmp_path / "model" / part).glob("*.safetensors"))
        ours, theirs = load_file(file), load_file(WEIGHTS / "text-to-image" / part / file.name)
        assert all(torch.equal(ours[key], value) for key, value in theirs.items())
    assert (folder / "unet").is_dir()


def test_its_parts_are_trained_anew_on_request(tiny, tmp_path):  # noqa: ARG001
    weights = tmp_path / "weights"
    shutil.copytree(WEIGHTS / "clip", weights / "clip")
    train("pixel-trunk", tmp_path / "work", weights, anew=True)
    assert {file.stem for file in (tmp_path / "work").glob("*.pt")} == set(lineage("pixel-trunk"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["latent-learned", "pixel-learned"])
def test_a_model_ships_with_its_card(tiny, tmp_path, name):  # noqa: ARG001
    """A second call trains nothing, and writes the same weights."""
    for judge in ("classifier", "judge", "clip"):
        shutil.copytree(WEIGHTS / judge, tmp_path / "weights" / judge)
    folder = train(name, tmp_path / "work", tmp_path / "weights")
    card = Card.model_validate_json((folder / "card.json").read_text())
    assert set(card.settings) == set(lineage(name))
    named = [figure.name for figure in card.figures]
    assert named[0] == "object by classifier, guidance 4, 25 ancestral steps"
    assert {"bits per number, learned variance", "share of learned variances between their bounds"} < set(named)
    assert ("object by judge, by the second stage" in named) == (name == "pixel-learned")
    assert not any("_name_or_path" in file.read_text() for file in folder.rglob("*.json"))
    before = fingerprint(str(folder))
    assert fingerprint(str(train(name, tmp_path / "work", tmp_path / "weights"))) == before
