import hashlib

import numpy as np
import PIL.Image
import pytest
import timm
import torch
import torchvision

from stages.models import classifiers
from stages.models.classifiers import Download, load_classifier
from stages.models.spec import ModelSpec
from stages.randomness import rng
from tests.stages.models.tiny import save_classifier

SQUEEZE = "torchvision:squeezenet1_1/IMAGENET1K_V1"


def pictures(*sizes):
    return [rng(i, "picture").integers(0, 256, (*size, 3)).astype(np.uint8) for i, size in enumerate(sizes)]


def by_timm(folder, images):
    """The logits of timm's own model and transform, one picture at a time."""
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    with torch.inference_mode():
        x = torch.stack([transform(PIL.Image.fromarray(image)) for image in images])
        return x, model(x)


@pytest.mark.parametrize("sizes", [[(32, 32)] * 3, [(64, 64), (32, 32)], [(40, 60)]], ids=str)
@pytest.mark.parametrize("crop", [1.0, 0.875])
def test_preprocessing_and_logits_are_timms_bit_for_bit(tmp_path, sizes, crop):
    save_classifier(tmp_path, crop=crop)
    classifier, images = load_classifier(ModelSpec(model=str(tmp_path))), pictures(*sizes)
    x, logits = by_timm(tmp_path, images)
    assert torch.equal(classifier.preprocess(images), x)
    torch.testing.assert_close(classifier.logits(images), logits)
    assert classifier.preprocess.unchanged == ((32, 32) if crop == 1 else None)


def test_it_knows_its_classes(classifier_folder):
    classifier = load_classifier(ModelSpec(model=f"local-dir:{classifier_folder}"))
    assert classifier.names == tuple("abcdefg")
    assert classifier.classes == 7


def refused(model, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        load_classifier(ModelSpec(model=str(model)))
    assert "\n" not in str(caught.value)


def test_unknown_and_unreadable_models(tmp_path):
    refused("resnet999", "classifier 'resnet999': expected readable weights, but found: Unknown model")
    refused("torchvision:squeezenet1_1/V9", r"no weights 'V9' among .*'IMAGENET1K_V1'")
    refused("torchvision:no_such", "classifier 'torchvision:no_such': .*Unknown model no_such")
    refused("./nowhere", "expected a folder of weights")
    refused(tmp_path, "no model.safetensors in")
    save_classifier(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    refused(tmp_path, "expected readable weights, but found: ")


def test_the_published_swag_weights_and_their_preprocessing():
    weights = torchvision.models.ViT_H_14_Weights["IMAGENET1K_SWAG_E2E_V1"]
    preset = weights.transforms()
    assert Download(weights.url).digits == "80465313"
    assert (preset.resize_size, preset.crop_size, preset.interpolation.value) == ([518], [518], "bicubic")
    assert len(weights.meta["categories"]) == 1000
    with torch.device("meta"):
        network = torchvision.models.vit_h_14(num_classes=1000, image_size=518)
    assert sum(p.numel() for p in network.parameters()) == weights.meta["num_params"]


def test_a_cached_file_with_the_wrong_checksum_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"nothing")
    refused(SQUEEZE, "squeezenet1_1-b8a52dc0.pth with SHA-256 [0-9a-f]{8}..., not b8a52dc0...; delete it")


def test_torchvision_weights_load_and_classify_as_torchvision_does(monkeypatch, tmp_path):
    network = torchvision.models.squeezenet1_1().eval()
    path = tmp_path / "weights.pth"
    torch.save(network.state_dict(), path)
    name = f"squeezenet1_1-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    path.rename(tmp_path / "checkpoints" / name)
    monkeypatch.setattr(classifiers.Download, "fetch", lambda _: tmp_path / "checkpoints" / name)
    classifier = load_classifier(ModelSpec(model=SQUEEZE))
    (image,) = pictures((300, 260))
    preset = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1.transforms()
    with torch.inference_mode():
        expected = network(preset(PIL.Image.fromarray(image))[None])
    torch.testing.assert_close(classifier.logits([image]), expected)
    assert classifier.names[0] == "tench"
