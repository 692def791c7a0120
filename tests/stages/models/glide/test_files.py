import json

import pytest
import torch
from safetensors.torch import load_file

from stages.models.glide.files import convert, load_options, published_weights, renamed
from stages.models.loading import load_generator
from stages.models.source import fingerprint
from stages.models.spec import ModelSpec
from tests.stages.models.glide import published
from tests.stages.models.glide.models import OPTIONS, converted


@pytest.fixture
def files(tmp_path):
    published.write(tmp_path)
    return tmp_path


def pairs(files):
    return files / "encoder.json.gz", files / "vocab.bpe.gz"


@pytest.mark.parametrize("o", [published.TINY, published.TINY_UPSAMPLER], ids=["base", "upsampler"])
def test_every_published_name_becomes_one_of_ours(o):
    names = [renamed(name) for name in published.shapes(o)]
    assert len({*names}) == len(names)
    old = {"in_layers", "emb_layers", "resblocks", "input_blocks", "output_blocks", "qkv", "encoder_kv", "c_fc"}
    assert not old & {part for name in names for part in name.split(".")}


def test_the_weights_are_the_published_ones(files):
    folder = converted(files, files / "ours")
    ours, theirs = load_file(folder / "base.safetensors"), published.checkpoint(published.TINY)
    assert {name: x.sum() for name, x in ours.items()} == {renamed(name): x.sum() for name, x in theirs.items()}
    assert load_options(folder) == {"base": OPTIONS[0], "upsampler": OPTIONS[1]}
    assert len(fingerprint(str(folder))) == 32


def test_the_base_alone(files):
    folder = convert((files / "base.pt", None), pairs(files), files / "ours", OPTIONS)
    generator = load_generator(ModelSpec(model=str(folder)))
    assert generator.second is None


def refused(files, message):
    with pytest.raises(ValueError, match=message) as caught:
        converted(files, files / "ours")
    assert "\n" not in str(caught.value)


def test_other_sizes_are_refused(files):
    torch.save(published.checkpoint(published.TINY | {"xf_layers": 1}), files / "base.pt")
    refused(
        files, r"expected in .*base\.pt the weights of GlideOptions.*, but 12 differ, first text\.layers\.1.*network"
    )


def test_no_checkpoint_is_refused(files):
    (files / "upsample.pt").write_bytes(b"nothing")
    refused(files, r"expected weights of GLIDE in .*upsample\.pt, but found: ")


def test_another_vocabulary_is_refused(files):
    (files / "encoder.json.gz").write_text(json.dumps({"a": 0}))
    refused(files, r"expected 263 words in .*encoder\.json\.gz, found 1")


def test_what_is_there_stays(files):
    (files / "ours").mkdir()
    (files / "ours" / "mine").touch()
    refused(files, "expected no folder or an empty one")


def test_a_damaged_folder(files):
    folder = converted(files, files / "ours")
    (folder / "base.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="but found: "):
        load_generator(ModelSpec(model=str(folder)))


def test_published_weights_never_run_code(files):
    """`torch.load` refuses what is not plain weights."""
    torch.save({"a": OPTIONS[0]}, files / "base.pt")
    with pytest.raises(ValueError, match=r"expected weights of GLIDE in .*base\.pt, but found: "):
        published_weights(files / "base.pt", OPTIONS[0])
