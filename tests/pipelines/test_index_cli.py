"""The commands over indexes: what they print, and one sentence for each mistake."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.config import UserError
from stages.neighbours import Index
from stages.neighbours.writer import Writer
from tests.stages.neighbours.make import unit

SAID = {"score": "toy@8", "model": "toy", "weights": "w", "metric": "cosine", "source": "toys", "settings": "s"}


def write(folder: Path, purpose: str = "references", **described: str) -> Path:
    writer = Writer(folder, 8, "float16", 100)
    hashes = [str(i) for i in range(149)]
    writer.add(unit(150, 8, purpose).astype(np.float16), pa.table({"hash": [*hashes, "7"], "row": range(150)}))
    bad = pa.table({"path": ["a", "b"], "row": [0, 1], "reason": ["an empty file", "an empty file"]})
    writer.finish(bad, **SAID | described)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "index")


def run(*words: object) -> str:
    done = CliRunner().invoke(app, ["index", *map(str, words)], catch_exceptions=False, standalone_mode=False)
    return " ".join(done.output.split())


def test_show(folder: Path):
    text = run("show", folder)
    assert "150, 1 of them exact duplicates" in text
    assert "quarantine: 2 x an empty file" in text
    assert "8 x float16, compared by cosine" in text
    assert "toy@8, weights w" in text


def test_verify(folder: Path):
    assert "5 files, every checksum as in the manifest" in run("verify", folder)
    path = folder / "shards" / "00000.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"shards/00000.npy to have SHA-256"):
        run("verify", folder)


def test_recall(folder: Path, tmp_path: Path):
    queries = write(tmp_path / "queries", "queries")
    text = run("recall", folder, "--queries", queries, "engine.kind=ivf", "engine.lists=4", "engine.probes=4", "k=2")
    assert "finds the nearest: 1.0000 [0.9750, 1.0000] (n=150), Wilson 0.95" in text
    assert "ivf-" in run("show", folder)
    assert len(list((Index.open(folder).folder / "engines").iterdir())) == 1


class TestMistakes:
    @pytest.mark.parametrize("command", ["show", "verify"])
    def test_no_index(self, tmp_path: Path, command: str):
        with pytest.raises(UserError, match="expected the folder of an index, found none"):
            run(command, tmp_path / "nowhere")

    def test_an_unknown_engine(self, folder: Path):
        with pytest.raises(UserError, match=r"recall: engine: .*'exact', 'flat'"):
            run("recall", folder, "--queries", folder, "engine.kind=annoy")

    def test_other_queries(self, folder: Path, tmp_path: Path):
        with pytest.raises(UserError, match="recall: expected an index of other@9, found one of toy@8"):
            run("recall", folder, "--queries", write(tmp_path / "other", score="other@9"))
        with pytest.raises(UserError, match="made with the weights v of toy, found one of w"):
            run("recall", folder, "--queries", write(tmp_path / "newer", weights="v"))

    def test_more_neighbours_than_references(self, folder: Path):
        with pytest.raises(UserError, match="expected k of 1 to 150"):
            run("recall", folder, "--queries", folder, "engine.kind=flat", "k=151")

    def test_a_source_that_is_not_there(self, tmp_path: Path):
        with pytest.raises(UserError, match="expected a file or a folder, found none"):
            run("build", tmp_path / "x", "--output", tmp_path / "index", "--descriptor", "pixels:4")

    def test_a_descriptor_that_is_none(self, tmp_path: Path):
        with pytest.raises(UserError, match="descriptor 'nothing' is neither sscd:NAME"):
            run("build", "world:0-9", "--output", tmp_path / "index", "--descriptor", "nothing")

    def test_a_misspelt_setting(self, tmp_path: Path):
        words = ("build", "world:0-9", "--output", tmp_path / "index", "--descriptor", "pixels:4", "peice_rows=3")
        with pytest.raises(UserError, match="peice_rows is not a setting; did you mean piece_rows"):
            run(*words)
