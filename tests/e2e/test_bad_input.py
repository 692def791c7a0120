"""What a user can get wrong: one sentence, status 2, no traceback, and finished rows untouched."""

import os
from pathlib import Path

import pytest

from tests.e2e.commands import seedquake

pytestmark = pytest.mark.e2e

BAD = {
    ("sampler.step=3",): "did you mean steps?",
    ("sampler.scheduler=ddimm",): "sampler",
    ("sampler.steps=-1",): "greater than 0",
    ("prompts={kind: list, prompts: []}",): "at least 1",
    ("prompts={kind: file, path: /no/such.txt}",): "expected a file, found none",
    ("prompts.classes=imagenet",): "imagenet100",
    ("model=zoo:text2image",): "text-to-image",
    ("model=./no/such/folder",): "no/such/folder",
    ("model=not a name",): "not a name",
    ("run.device=cuda",): "run.generate.gpus",
    ("run.generate.gpus=1",): "GPU",
    ("run.address=127.0.0.1:1",): "running Ray",
    ("run.output=/proc/nowhere",): "cannot be written",
    ("seeds.count=0",): "greater than 0",
}


@pytest.mark.parametrize("overrides", BAD, ids=" ".join)
def test_a_mistake_is_one_sentence(overrides: tuple[str, ...], tmp_path: Path):
    output = [] if overrides[0].startswith("run.output") else [f"run.output={tmp_path / 'runs'}"]
    _, err = seedquake("robustness", "robustness_demo", *output, *overrides, cwd=tmp_path, status=2)
    assert BAD[overrides] in err
    assert "Traceback" not in err
    assert err.count("seedquake: ") == 1


@pytest.mark.parametrize("words", ["robustnes x", "robustness", "plan no-such", "report nowhere", "zoo train x"])
def test_unknown_commands_and_names(words: str, tmp_path: Path):
    _, err = seedquake(*words.split(), cwd=tmp_path, status=2)
    assert "Traceback" not in err


def test_a_model_that_is_no_model(tmp_path: Path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"nothing")
    words = ("robustness", "robustness_demo", "model=./model", f"run.output={tmp_path / 'runs'}")
    _, err = seedquake(*words, cwd=tmp_path, status=2)
    assert "model_index.json" in err
    assert "Traceback" not in err


def test_help_names_every_command(tmp_path: Path):
    out, _ = seedquake("--help", cwd=tmp_path)
    for word in ("robustness", "plan", "report", "ui", "zoo"):
        assert word in out


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path):
    tmp_path.chmod(0o500)
    _, err = seedquake("robustness", "robustness_demo", f"run.output={tmp_path / 'runs'}", cwd=tmp_path, status=2)
    assert "cannot be written" in err
