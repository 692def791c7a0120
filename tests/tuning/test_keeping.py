"""What trials leave in a place that all machines reach: whole, the last that was published, on a disk and on S3."""

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pipelines.config import UserError
from stages.storage import filesystem, put
from tests import s3
from tuning.keeping import Keeping, Kept, Left, named, of_task
from tuning.search import Metrics, Point

NAME, UNIT = "trained/abc/drawn.safetensors", "trained/abc"


def leave(output: Path, **files: str) -> Path:
    """Leave files of a trial, __ for each /."""
    for name, text in files.items():
        path = output / UNIT / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return output


def found(output: Path) -> dict[str, str]:
    files = [file for file in output.rglob("*") if file.is_file() and not file.name.startswith(".")]
    return {file.relative_to(output).as_posix(): file.read_text() for file in files}


def stored(place: str) -> list[str]:
    from pyarrow.fs import FileSelector

    fs, root = filesystem(place)
    infos = fs.get_file_info(FileSelector(f"{root}/files", recursive=True, allow_not_found=True))
    return sorted(info.path.removeprefix(f"{root}/files/") for info in infos if info.is_file)


class TestLaws:
    def test_another_machine_has_what_was_put_last(self, tmp_path: Path, place: str):
        here, there = leave(tmp_path / "here", model__weights="w", checkpoint="1"), tmp_path / "there"
        kept = Kept(str(here), place)
        for count in ("1", "2"):
            leave(here, checkpoint=count)
            kept.put(NAME, [here / UNIT])
            Kept(str(there), place).fetch(NAME, working=True)
            assert found(there) == found(here) == {f"{UNIT}/model/weights": "w", f"{UNIT}/checkpoint": count}

    def test_what_counts_no_longer_is_deleted(self, tmp_path: Path, place: str):
        here = leave(tmp_path / "here", one="1", other="0")
        kept = Kept(str(here), place)
        kept.put(NAME, [here / UNIT])
        leave(here, one="2")
        (here / UNIT / "other").unlink()
        kept.put(NAME, [here / UNIT])
        assert stored(place) == [f"{UNIT}/one/{hashlib.sha256(b'2').hexdigest()}"]

    def test_what_another_trial_goes_on_from_is_not(self, tmp_path: Path, place: str):
        here, there = leave(tmp_path / "here", one="1"), tmp_path / "there"
        Kept(str(here), place).put(NAME, [here / UNIT])
        second = Kept(str(there), place)
        second.fetch(NAME)
        second.put("other", [there / UNIT])
        leave(there, one="2")
        second.put("other", [there / UNIT])
        Kept(str(tmp_path / "third"), place).fetch(NAME)
        assert found(tmp_path / "third") == {f"{UNIT}/one": "1"}

    def test_what_was_not_published_is_not_seen(self, tmp_path: Path, place: str):
        here = leave(tmp_path / "here", one="1")
        Kept(str(here), place).put(NAME, [here / UNIT])
        fs, root = filesystem(place)
        put(fs, f"{root}/files/{UNIT}/two/{'0' * 64}", b"half")
        Kept(str(tmp_path / "there"), place).fetch(NAME)
        Kept(str(tmp_path / "there"), place).fetch("another")
        assert found(tmp_path / "there") == {f"{UNIT}/one": "1"}

    def test_only_the_trial_itself_fetches_its_checkpoint(self, tmp_path: Path, place: str):
        here, there = leave(tmp_path / "here", **{"one": "1", "checkpoint.pt": "c"}), tmp_path / "there"
        Kept(str(here), place).put(NAME, [here / UNIT])
        Kept(str(there), place).fetch_all([NAME])
        assert found(there) == {f"{UNIT}/one": "1"}
        Kept(str(there), place).fetch(NAME, working=True)
        assert found(there) == found(here)

    def test_all_of_a_search(self, tmp_path: Path, place: str):
        here, there = tmp_path / "here", tmp_path / "there"
        for name in ("one", "two"):
            leave(here, **{name: name})
            Kept(str(here), place).put(f"search-1/{name}", [here / UNIT / name])
        Kept(str(there), place).fetch_all(["search-1/", "nothing/"])
        assert found(there) == found(here)

    def test_files_on_their_way_are_left_out(self, tmp_path: Path, place: str):
        files = {"one": "1", ".one.aside": "", "model.partial__weights": "", "lock": "", "on-its-way__weights": ""}
        here = leave(tmp_path / "here", **files)
        Kept(str(here), place).put(NAME, [here / UNIT])
        assert [path.rpartition("/")[0] for path in stored(place)] == [f"{UNIT}/one"]


class TestTroubles:
    def test_a_server_that_fails_and_answers_late(self, tmp_path: Path, s3_port: int):
        way = s3.Way(s3_port, seed=5, share=0.2, slow_s=0.02)
        place = s3.uri(s3.bucket(s3_port), way.port)
        here, there = tmp_path / "here", tmp_path / "there"
        kept = Kept(str(here), place)
        for count in range(5):
            leave(here, checkpoint=str(count), **{f"file{count}": str(count)})
            kept.put(NAME, [here / UNIT])
            Kept(str(there), place).fetch(NAME, working=True)
            assert found(there) == found(here)
        assert way.faults

    def test_a_file_that_was_altered(self, tmp_path: Path, place: str):
        here = leave(tmp_path / "here", one="1", two="2")
        Kept(str(here), place).put(NAME, [here / UNIT])
        fs, root = filesystem(place)
        put(fs, f"{root}/files/{UNIT}/two/{hashlib.sha256(b'2').hexdigest()}", b"3")
        with pytest.raises(ValueError, match=r"run\.store: expected trained/abc/two in .* to have SHA-256 \w+, found"):
            Kept(str(tmp_path / "there"), place).fetch(NAME)
        assert found(tmp_path / "there") == {}

    def test_a_file_that_is_gone(self, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("tuning.keeping.PAUSE_S", 0.01)
        here = leave(tmp_path / "here", one="1", two="2")
        Kept(str(here), place).put(NAME, [here / UNIT])
        fs, root = filesystem(place)
        fs.delete_file(f"{root}/files/{UNIT}/two/{hashlib.sha256(b'2').hexdigest()}")
        with pytest.raises(FileNotFoundError):
            Kept(str(tmp_path / "there"), place).fetch(NAME)
        assert found(tmp_path / "there") == {}

    def test_a_manifest_that_leads_out_of_the_output(self, tmp_path: Path, place: str):
        fs, root = filesystem(place)
        put(fs, f"{root}/manifests/{NAME}.json", b'{"files": {"../key": "0"}}')
        with pytest.raises(ValueError, match=r"found another text \(.*expected paths below the output, found '../key'"):
            Kept(str(tmp_path), place).fetch(NAME)

    def test_no_such_bucket(self, tmp_path: Path, s3_port: int):
        place = s3.uri("s3://bucket-that-is-not/x", s3_port)
        with pytest.raises(UserError, match=r"run\.store: expected to be able to write to s3://bucket-that.*, found: "):
            Kept(str(tmp_path), place).check()


def counting(output: str, stop: int, point: Point) -> Iterator[Metrics]:  # noqa: ARG001
    """Count in a checkpoint; at ten leave the file that says so, without the checkpoint."""
    unit = Path(output) / UNIT
    unit.mkdir(parents=True, exist_ok=True)
    file, done = unit / "checkpoint.pt", Path(output) / NAME
    if done.exists():
        return
    for count in range(int(file.read_text()) + 1 if file.exists() else 1, stop + 1):
        file.write_text(str(count))
        if count == 10:
            file.unlink()
            done.write_text("done")
        yield {"pictures": float(count)}


def tried(output: Path, place: str, stop: int = 10) -> list[float]:
    names = {"trial": named(str(output), output / NAME)}
    left = partial(of_task, str(output), names)
    keeping = Keeping(partial(counting, str(output), stop), str(output), place, (), left)
    return [metrics["pictures"] for metrics in keeping({"name": "trial"})]


def test_a_trial_goes_on_at_another_machine(tmp_path: Path, place: str):
    assert tried(tmp_path / "first", place, stop=4) == [1, 2, 3, 4]
    assert tried(tmp_path / "second", place, stop=7) == [5, 6, 7]
    assert tried(tmp_path / "first", place) == [8, 9, 10]  # not from its own, older checkpoint
    assert tried(tmp_path / "third", place) == []
    assert found(tmp_path / "third") == {NAME: "done"}
    assert [path.rpartition("/")[0] for path in stored(place)] == [NAME]


def test_a_task_leaves_its_folder_and_the_files_beside_it(tmp_path: Path):
    leave(tmp_path, one="1")
    (tmp_path / "trained" / "real-1.safetensors").touch()
    (tmp_path / "trained" / "other").mkdir()
    left = of_task(str(tmp_path), {"trial": NAME}, {"name": "trial"})
    assert left == Left(NAME, (tmp_path / UNIT, tmp_path / "trained" / "real-1.safetensors"))
