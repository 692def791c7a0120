"""GLIDE's published files, converted by the command that users have for it."""

import shutil
import sys
from pathlib import Path

import pytest
import torch

from stages.models.loading import load_generator
from stages.models.spec import ModelSpec
from tests.stages.models.glide import published
from tests.stages.models.glide.models import OPTIONS, converted
from tuning import cli

SIZES = [
    f"{network}.{name}={value}".replace("(", "[").replace(")", "]").replace(",]", "]")
    for network, options in zip(("base", "upsampler"), OPTIONS, strict=True)
    for name, value in options
]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """What is published, at a tiny size."""
    folder = tmp_path / "published"
    folder.mkdir()
    published.write(folder)
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["seedquake", "convert", "glide", *map(str, words)])
    cli.main()


def both(files: Path) -> list[object]:
    return [files / "base.pt", "--upsampler", files / "upsample.pt", "--output", files / "ours", *SIZES]


def test_the_folder_is_a_model_like_any_other(files: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    run(monkeypatch, *both(files))
    assert capsys.readouterr().out.strip() == f"model={files / 'ours'}"
    expected = converted(files, files / "theirs")
    names = sorted(file.name for file in expected.iterdir())
    assert sorted(file.name for file in (files / "ours").iterdir()) == names
    assert all((files / "ours" / name).read_bytes() == (expected / name).read_bytes() for name in names)
    shift = "perturbations={kind: uniform_mean_shift, shift: 0.4}"
    words = ("plan", "robustness_demo", shift, f"model={files / 'ours'}", f"run.output={files / 'runs'}")
    monkeypatch.setattr(sys, "argv", ["seedquake", *words])
    cli.main()
    assert "to draw" in capsys.readouterr().out


def test_the_base_alone_with_its_byte_pairs_elsewhere(files: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("encoder.json.gz", "vocab.bpe.gz"):
        (files / "tokenizer").mkdir(exist_ok=True)
        shutil.move(files / name, files / "tokenizer" / name)
    sizes = [size for size in SIZES if size.startswith("base.")]
    run(monkeypatch, files / "base.pt", "--output", files / "ours", "--tokenizer", files / "tokenizer", *sizes)
    assert load_generator(ModelSpec(model=str(files / "ours"))).second is None


def swapped(files: Path) -> None:
    (files / "base.pt").rename(files / "other.pt")
    (files / "upsample.pt").rename(files / "base.pt")
    (files / "other.pt").rename(files / "upsample.pt")


def inpainting(files: Path) -> None:
    weights = published.checkpoint(published.TINY)
    stem = weights["input_blocks.0.0.weight"]
    weights["input_blocks.0.0.weight"] = torch.zeros(len(stem), 7, 3, 3)
    torch.save(weights, files / "base.pt")


def renamed(files: Path) -> None:
    weights = published.checkpoint(published.TINY)
    weights["extra.weight"] = weights.pop("out.2.bias")
    torch.save(weights, files / "base.pt")


WRONG = {
    "missing": (lambda files: (files / "base.pt").unlink(), "expected weights of GLIDE in"),
    "no weights": (lambda files: (files / "base.pt").write_bytes(b"nothing"), "expected weights of GLIDE in"),
    "something around": (
        lambda files: torch.save({"state": published.checkpoint(published.TINY)}, files / "base.pt"),
        "found 'state' too; save the weights by name",
    ),
    "a list": (lambda files: torch.save([torch.zeros(1)], files / "base.pt"), "found a list"),
    "swapped": (swapped, "the base model, whose first layer sees 3 channels, found the upsampler, which sees 6"),
    "inpainting": (inpainting, "found the one of inpainting, which sees 7"),
    "other names": (renamed, "2 differ, first extra.weight"),
    "no byte pairs": (lambda files: (files / "vocab.bpe.gz").unlink(), "name the folder of both by --tokenizer"),
    "cut byte pairs": (
        lambda files: (files / "vocab.bpe.gz").write_bytes((files / "vocab.bpe.gz").read_bytes()[:20]),
        "expected byte pairs in",
    ),
    "no vocabulary": (lambda files: (files / "encoder.json.gz").write_text("words"), "expected a vocabulary in"),
    "a model there": (lambda files: shutil.copytree(files, files / "ours"), "expected no folder or an empty one"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_sentence(name: str, files: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    change, message = WRONG[name]
    change(files)
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, *both(files))
    err = capsys.readouterr().err
    assert caught.value.code == 2
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert not (files / "ours" / "glide.json").exists()


@pytest.mark.parametrize(
    ("size", "message"), [("base.chanels=3", "did you mean channels?"), ("base.channels=33", "32")]
)
def test_sizes_that_are_none(files: Path, monkeypatch: pytest.MonkeyPatch, capsys, size: str, message: str):
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, *both(files), size)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_the_published_sizes_need_no_words():
    from tuning.convert_cli import sized

    assert (sized([]).base.channels, sized([]).upsampler.side_px) == (192, 256)
