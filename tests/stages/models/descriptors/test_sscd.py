import hashlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import transforms

from stages.models.descriptors import published
from stages.models.descriptors.loading import load_descriptor
from stages.models.descriptors.spec import DescriptorSpec
from stages.models.source import fingerprint
from tests.stages.models.descriptors.tiny import pictures, published_network, save_published

NAME = "sscd_disc_advanced"
SIZES = [(64, 64, 3), (32, 48, 3), (500, 333, 3), (288, 288, 3), (320, 320, 3)]


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A site that publishes one file, and an empty cache; returns the file."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(published, "ADDRESS", f"file://{tmp_path}/{{name}}.torchscript.pt")
    return tmp_path / f"{NAME}.torchscript.pt"


def embed(model, images, **settings):
    return load_descriptor(DescriptorSpec(model=model, **settings)).embed(images)


def official(resize: str):
    """The preprocessing that the project's page shows."""
    normalise = transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    size = transforms.Resize(288) if resize == "short" else transforms.Resize([320, 320])
    return transforms.Compose([size, transforms.ToTensor(), normalise])


@pytest.mark.parametrize("resize", ["short", "square"])
def test_preprocessing_is_torchvisions_bit_for_bit(site, resize):
    model = f"sscd:{NAME}@{save_published(site)}"
    descriptor, images = load_descriptor(DescriptorSpec(model=model, resize=resize)), pictures(*SIZES)
    for image in images:
        assert torch.equal(descriptor.preprocess([image])[0], official(resize)(PIL.Image.fromarray(image)))


@pytest.mark.parametrize("resize", ["short", "square"])
def test_a_pinned_file_is_fetched_once_and_embeds_as_published(site, resize, tmp_path):
    model = f"sscd:{NAME}@{save_published(site)}"
    images = pictures(*SIZES)
    found = embed(model, images, resize=resize, batch=2)
    with torch.inference_mode():
        alone = [published_network()(official(resize)(PIL.Image.fromarray(image))[None])[0] for image in images]
    np.testing.assert_allclose(found, np.stack(alone), atol=1e-5)
    site.unlink()
    np.testing.assert_array_equal(embed(model, images, resize=resize, batch=2), found)
    assert fetched(tmp_path / "cache" / "hub" / "checkpoints") == [site.name]


def test_a_file_without_a_known_checksum_is_refused_and_says_how_to_pin_it(site):
    digest = save_published(site)
    with pytest.raises(ValueError, match=f"with SHA-256 {digest}, for which no source states a checksum") as caught:
        embed(f"sscd:{NAME}", [])
    assert str(caught.value).endswith(f"if you trust this file, name it sscd:{NAME}@{digest}")
    assert "\n" not in str(caught.value)


def test_a_file_with_another_checksum_is_refused(site):
    digest = save_published(site)
    site.write_bytes(site.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"with SHA-256 [0-9a-f]{{64}}, not {digest}; delete it to fetch it anew"):
        embed(f"sscd:{NAME}@{digest}", [])


def test_a_pinned_file_that_is_no_torchscript_is_one_sentence(site):
    site.write_bytes(b"nothing")
    digest = hashlib.sha256(b"nothing").hexdigest()
    with pytest.raises(ValueError, match="expected readable weights, but found: ") as caught:
        embed(f"sscd:{NAME}@{digest}", [])
    assert "\n" not in str(caught.value)


def fetched(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if file.suffix != ".lock"]


def test_an_address_that_does_not_answer_says_where_to_put_the_file(site, tmp_path):
    place = tmp_path / "cache" / "hub" / "checkpoints" / site.name
    with pytest.raises(ValueError, match=f"no {place}, nor file://.*; put the file there by hand"):
        embed(f"sscd:{NAME}", [])
    assert not fetched(place.parent)


def test_vectors_of_another_length_are_refused(site):
    model = f"sscd:{NAME}@{save_published(site, dimension=100)}"
    with pytest.raises(
        ValueError, match=r"sscd_disc_advanced@288 should give 512 numbers a picture, but gave \(100,\)"
    ):
        embed(model, pictures((64, 64, 3)))


def test_the_fingerprint_is_the_checksum():
    known = published.PUBLISHED["sscd_disc_mixup"].sha256
    assert fingerprint("sscd:sscd_disc_mixup", "descriptor") == known
    assert fingerprint(f"sscd:{NAME}@{'0' * 64}", "descriptor") == "0" * 64
    assert fingerprint("pixels:16", "descriptor") == "pixels"
    with pytest.raises(ValueError, match=f"no source states one for this file; write sscd:{NAME}@"):
        fingerprint(f"sscd:{NAME}", "descriptor")


def test_the_table_names_every_published_file():
    """Names and lengths as on the project's page."""
    names = {f"sscd_{data}_{changes}" for data in ("disc", "imagenet") for changes in ("blur", "advanced", "mixup")}
    assert set(published.PUBLISHED) == names | {"sscd_disc_large"}
    assert {n for n, file in published.PUBLISHED.items() if file.dimension == 1024} == {"sscd_disc_large"}
