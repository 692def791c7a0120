"""What is wrong with what trials have published is said, a sentence a file."""

import sys
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.store import Store
from stages.storage import below, filesystem, put, read
from tests.tuning.test_keeping import UNIT, leave
from tuning import cli
from tuning.keeping import ROWS, Kept
from tuning.verifying import verify


@pytest.fixture
def kept(tmp_path: Path, place: str) -> str:
    """A place with what two trials have published: two files each, one of them the same."""
    for number in ("1", "2"):
        here = leave(tmp_path / number, same="s", own=number)
        Kept(str(here), place).put(f"trials/{number}", [here / UNIT])
    return place


def stored(place: str) -> dict[str, str]:
    """Return the paths of the files by what they hold."""
    fs, root = filesystem(place)
    found = fs.get_file_info(pa.fs.FileSelector(f"{root}/files", recursive=True))
    return {read(fs, info.path).to_pybytes().decode(): info.path for info in found if info.is_file}


def test_what_is_as_published_has_no_defect(kept: str):
    found = verify(kept)
    assert (found.files, found.defects, found.notes) == (3, [], [])


def test_a_study_is_found_by_its_folder(kept: str, tmp_path: Path):
    study = tmp_path / "study-1234abcd"
    study.mkdir()
    (study / "spec.yaml").write_text(f"run: {{store: '{kept}'}}")
    assert verify(str(study)).files == 3


def test_files_that_were_altered_or_lost_are_named(kept: str):
    fs, _ = filesystem(kept)
    files = stored(kept)
    put(fs, files["1"], b"other")
    fs.delete_file(files["s"])
    altered, lost = sorted(verify(kept).defects)
    assert f"{UNIT}/own: expected the file with SHA-256 " in altered
    assert "trials/1.json" in altered
    assert f"{UNIT}/same: " in lost
    assert "found no such file; delete" in lost


def test_another_text_than_a_manifest_is_named(kept: str):
    fs, root = filesystem(kept)
    put(fs, f"{root}/manifests/trials/2.json", b"{}}")
    (defect,) = verify(kept).defects
    assert "manifests/trials/2.json" in defect


def test_rows_of_the_questions_are_checked_too(kept: str):
    store = Store(below(kept, ROWS))
    store.write("samples", pa.table({"sample_id": ["a", "b"], "error": pa.array([None, None], pa.string())}))
    assert verify(kept).rows == 2
    fs, _ = filesystem(kept)
    (part,) = store.parts("samples")
    put(fs, part.path, b"other")
    (defect,) = verify(kept).defects
    assert part.name in defect


def test_a_place_where_nothing_was_published_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"expected rows in .*, found none"):
        verify(str(tmp_path))


def test_the_command_prints_defects_and_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    store = Store(str(tmp_path / "store"))
    store.write("samples", pa.table({"sample_id": ["a", "b"]}))
    store.seal("samples")
    monkeypatch.setattr(sys, "argv", ["seedquake", "verify", str(tmp_path)])
    cli.main()
    assert capsys.readouterr().out.strip() == "2 rows in 1 files, all as published"
    (part,) = store.parts("samples")
    put(store.fs, part.path, b"PAR1")
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 1
    assert "it was cut or replaced" in capsys.readouterr().out
