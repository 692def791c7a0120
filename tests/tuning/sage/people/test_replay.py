"""Failures drawn again, by a tiny model of real classes."""

import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from stages.models.loading import load_generator
from stages.models.source import fingerprint
from stages.models.spec import ModelSpec
from stages.randomness import rng
from stages.sampling import SamplerSpec
from tests.stages.models.tiny import save
from tests.tuning.sage.people.made_up import made
from tests.tuning.test_cli import status
from tuning import cli
from tuning.sage import failures
from tuning.sage.people.replay import compare

SAMPLER = SamplerSpec(scheduler="ddim", steps=2, guidance=2.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save("stable_diffusion_1", str(folder))
    return str(folder)


def found(model, folder, count=0):
    """The folder of a failure of the tiny model, with so many vectors behind its prompt."""
    generator = load_generator(ModelSpec(model=model, device="cpu", dtype="float32", threads=1))
    latent = rng(1, "latent").standard_normal((4, 8, 8)).astype(np.float32)
    vectors = rng(1, "vectors").standard_normal((count, 32)).astype(np.float32) if count else None
    after = failures.draw(generator, SAMPLER, "a star", latent, vectors)
    told = {"model": model, "revision": fingerprint(model), "prompt": "a star", "sampler": SAMPLER}
    saved = made(**told, sha256=failures.sha256(after))
    return failures.save(folder, saved._replace(latent=latent, vectors=vectors, after=after))


@pytest.fixture(scope="module")
def failure(model, tmp_path_factory):
    return found(model, tmp_path_factory.mktemp("failures"))


@pytest.fixture
def copy(failure, tmp_path):
    """A failure that a test may change."""
    return shutil.copytree(failure, tmp_path / "failure")


def replayed(monkeypatch, *words):
    """Run the command where it succeeds."""
    monkeypatch.setattr(sys, "argv", ["seedquake", "replay", *map(str, words)])
    cli.main()


def rewrite(folder, **changes):
    file = folder / failures.FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_the_same_bit_for_bit(copy, monkeypatch, capsys):
    replayed(monkeypatch, copy)
    out = capsys.readouterr().out
    assert "same, bit for bit" in out
    assert "no classifier was loaded" in out
    np.testing.assert_array_equal(np.asarray(Image.open(copy / "replay.png")), failures.load(copy).after)


def test_vectors_are_drawn_with(failure, model, tmp_path, monkeypatch, capsys):
    folder = found(model, tmp_path, count=2)
    assert failures.load(folder).failure.sha256 != failures.load(failure).failure.sha256
    replayed(monkeypatch, folder)
    assert "same, bit for bit" in capsys.readouterr().out


def test_the_output_is_where_it_is_asked_for(copy, tmp_path, monkeypatch):
    replayed(monkeypatch, copy, "--output", tmp_path / "again.png")
    assert (tmp_path / "again.png").is_file()
    assert not (copy / "replay.png").exists()


def test_another_picture_is_said_to_be_one(copy, monkeypatch, capsys):
    rewrite(copy, prompt="a fish")
    assert status(monkeypatch, "replay", str(copy)) == 1
    out = capsys.readouterr().out
    assert "differs: at most " in out
    assert "same, bit for bit" not in out


def test_how_far_a_picture_is():
    saved = made()
    off = saved.after.astype(np.int64)
    off[0, 0, 0] += 7 if off[0, 0, 0] < 100 else -7
    found = compare(saved, off.astype(np.uint8))
    assert (found.same, found.largest, found.mean) == (False, 7, pytest.approx(7 / off.size))
    assert compare(saved, saved.after)[1:] == (True, 0, 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"revision": "0" * 32}, "expected the weights 00000000000000000000000000000000 behind"),
        ({"model": "zoo:none"}, "the embedded models are"),
        ({"model": "./no/such"}, "no/such"),
        ({"sampler": {"steps": -1}}, "sampler.steps"),
    ],
    ids=str,
)
def test_a_mistake_is_one_sentence(copy, change, said, monkeypatch, capsys):
    rewrite(copy, **change)
    assert status(monkeypatch, "replay", str(copy)) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert not (copy / "replay.png").exists()


def test_a_folder_that_is_none(tmp_path, monkeypatch, capsys):
    assert status(monkeypatch, "replay", str(tmp_path)) == 2
    assert "expected failure.json, found no such file" in capsys.readouterr().err


def test_a_picture_that_cannot_be_written(copy, tmp_path, monkeypatch, capsys):
    assert status(monkeypatch, "replay", str(copy), "--output", str(tmp_path / "no" / "such.png")) == 2
    assert "no/such.png" in capsys.readouterr().err


def test_a_model_that_runs_its_own_steps(copy, tmp_path, monkeypatch, capsys):
    save("pixart", str(tmp_path / "pixart"))
    rewrite(copy, model=str(tmp_path / "pixart"), revision=fingerprint(str(tmp_path / "pixart")))
    assert status(monkeypatch, "replay", str(copy)) == 2
    assert "expected a model whose steps our own loop takes" in capsys.readouterr().err
