import json

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

from stages.models.descriptors.gem import GemSpec, load_gem
from stages.models.descriptors.loading import load_descriptor
from stages.models.descriptors.spec import DescriptorSpec, score_name
from stages.models.source import fingerprint
from stages.models.zoo import world
from tests.stages.models.descriptors.tiny import pictures, save_descriptor


@pytest.fixture
def folder(tmp_path):
    return save_descriptor(tmp_path / "descriptor")


def test_it_is_the_formula(folder):
    """Trunk by timm, the rest in numpy and float64."""
    spec = GemSpec.model_validate_json((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    trunk = timm.create_model(spec.architecture, num_classes=0, global_pool="").eval()
    trunk.load_state_dict({k.removeprefix("trunk."): v for k, v in weights.items() if k.startswith("trunk.")})
    (image,) = pictures((32, 32, 3))
    x = (image / 255.0 - np.array(spec.mean)) / np.array(spec.std)
    with torch.inference_mode():
        features = trunk(torch.tensor(x, dtype=torch.float32).permute(2, 0, 1)[None])[0].numpy().astype(np.float64)
    pooled = (np.maximum(features, 1e-6) ** 3).mean(axis=(1, 2)) ** (1 / 3)
    vector = weights["linear.weight"].numpy() @ pooled + weights["linear.bias"].numpy()
    (found,) = load_descriptor(DescriptorSpec(model=str(folder))).embed([image])
    np.testing.assert_allclose(found, vector / np.linalg.norm(vector), atol=1e-5)


def test_a_folder_gives_back_what_was_written(folder):
    network, spec = load_gem(folder)
    assert spec == GemSpec.model_validate_json((folder / "config.json").read_text())
    assert network.trunk.num_features == 96
    assert len(fingerprint(str(folder), "descriptor")) == 32


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model.safetensors", b"nothing", "expected readable weights, but found: "),
        ("config.json", b'{"input_size": [3, 32, 32]}', "architecture: Field required"),
    ],
)
def test_a_damaged_folder_is_one_sentence(folder, file, content, message):
    (folder / file).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        load_descriptor(DescriptorSpec(model=str(folder)))
    assert "\n" not in str(caught.value)


def test_the_name_of_the_scores_needs_the_size(folder):
    (folder / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"expected config\.json with an input_size, but found none"):
        score_name(DescriptorSpec(model=str(folder)))


def test_a_folder_without_weights(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"no model\.safetensors in"):
        load_descriptor(DescriptorSpec(model=str(folder)))


def test_weights_of_another_network_are_one_sentence(folder):
    config = json.loads((folder / "config.json").read_text()) | {"dimension": 25}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="expected readable weights, but found: ") as caught:
        load_descriptor(DescriptorSpec(model=str(folder)))
    assert "\n" not in str(caught.value)


def test_the_embedded_descriptor_knows_copies_from_others():
    descriptor = load_descriptor(DescriptorSpec(model="zoo:descriptor"))
    assert (descriptor.name, descriptor.dimension) == ("zoo:descriptor@64x64", 128)
    renders = world.render(np.arange(world.HELD_OUT, world.HELD_OUT + 48))
    darker = (renders * 0.8).astype(np.uint8)
    small = renders.reshape(48, 16, 4, 16, 4, 3).mean(axis=(2, 4)).round().astype(np.uint8)
    originals = descriptor.embed(list(renders))
    for copies in (darker, small):
        scores = descriptor.embed(list(copies)) @ originals.T
        assert (scores.argmax(axis=1) == np.arange(48)).all()
        assert np.diag(scores).mean() > 0.8
        assert abs(scores[~np.eye(48, dtype=bool)].mean()) < 0.1
