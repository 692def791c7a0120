"""Mistakes that only a running Ray can find: still one sentence, status 2, no traceback."""

from pathlib import Path

import pytest

from tests.e2e.commands import process, seedquake

pytestmark = pytest.mark.e2e


def test_a_gpu_that_is_not_there(tmp_path: Path):
    words = ("robustness", "robustness_demo", "run.generate.gpus=1", f"run.output={tmp_path / 'runs'}")
    _, err = seedquake(*words, cwd=tmp_path, status=2)
    assert "expected a cluster with at least 2 GPUs" in err
    assert "Traceback" not in err


def test_a_folder_that_is_no_model(tmp_path: Path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"nothing")
    words = ("robustness", "robustness_demo", "model=./model", f"run.output={tmp_path / 'runs'}")
    _, err = process(*words, cwd=tmp_path, status=2)
    assert "model_index.json" in err
    assert "Traceback" not in err
