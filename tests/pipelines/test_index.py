"""Building an index on real actors: every picture once, in order, whatever stops it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import datasets
import numpy as np
import pytest
from pydantic import JsonValue

from pipelines import index as indexing
from pipelines.config import UserError
from pipelines.index import BuildSpec, Built, build
from pipelines.pictures import read_picture
from pipelines.pieces import Parts
from pipelines.run import RunFailed, Tally
from pipelines.sources import parse
from stages.base import objects
from stages.embed import Embed, EmbedSpec
from stages.lookup import Lookup, LookupSpec
from stages.models.zoo.world import labels, render
from stages.neighbours import Index
from tests import s3
from tests.pipelines.damaged import DAMAGED, encoded
from tests.pipelines.test_sources import parquet
from tests.stages.neighbours.make import brute

EMBED = EmbedSpec(model="pixels:4", batch=8, threads=1)


def spec(tmp_path: Path, source: str = "world:100-140", **settings: object) -> BuildSpec:
    given = {"source": source, "output": str(tmp_path / "index"), "embed": EMBED, "piece_rows": 16, "shard_rows": 25}
    return BuildSpec.model_validate({**given, **settings})


def built(wanted: BuildSpec, tallies: list[Tally] | None = None) -> Built:
    return build(wanted, lambda _, tally: (tallies if tallies is not None else []).append(tally), lambda _: None)


def contents(folder: str) -> tuple[bytes, list[dict]]:
    index = Index.open(folder)
    return index.gather(index.numbers()).tobytes(), index.items(index.numbers().tolist()).to_pylist()


class Whole(NamedTuple):
    """An index that nothing stopped; no test writes to it."""

    place: Path
    built: Built
    tallies: list[Tally]


@pytest.fixture(scope="module")
def whole(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Whole:  # noqa: ARG001
    place, tallies = tmp_path_factory.mktemp("whole"), []
    return Whole(place, built(spec(place), tallies), tallies)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
class TestBuilding:
    def test_every_picture_is_there_in_order(self, whole: Whole):
        found, tallies = whole.built, whole.tallies
        assert found.new
        assert (found.manifest.count, found.manifest.quarantined, found.manifest.dimension) == (40, 0, 48)
        assert [shard.rows for shard in found.manifest.shards] == [25, 15]
        assert (tallies[-1].done, tallies[-1].todo) == (40, 40)
        index = Index.open(spec(whole.place).output)
        index.verify()
        items = index.items(range(40)).to_pylist()
        assert [item["item"] for item in items] == list(range(40))
        assert [item["row"] for item in items] == list(range(100, 140))
        assert [item["label"] for item in items] == labels(range(100, 140)).tolist()
        vectors = Embed(EMBED)({"image": render(range(100, 140))})["embedding"]
        np.testing.assert_array_equal(index.gather(np.arange(40)), np.stack(vectors).astype(np.float16))
        assert not (index.folder / "parts").exists()

    def test_built_again_there_is_nothing_to_do(self, whole: Whole):
        before = {path: path.stat().st_mtime_ns for path in Path(spec(whole.place).output).rglob("*")}
        again = built(spec(whole.place, compute={"actors": 2}, max_quarantined_share=0.5))
        assert not again.new
        assert {path: path.stat().st_mtime_ns for path in Path(spec(whole.place).output).rglob("*")} == before

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"limit": 30}, "expected limit null as it was begun, found 30"),
            ({"stored": "float32"}, 'expected stored "float16"'),
            ({"source": "world:100-141"}, 'expected source "world:100-140"'),
            ({"embed": {"model": "pixels:5"}}, "expected embed "),
        ],
    )
    def test_other_settings_are_refused(self, whole: Whole, change: dict[str, JsonValue], told: str):
        with pytest.raises(UserError, match=told):
            built(spec(whole.place, **change))

    def test_stopped_and_begun_again_it_is_the_same(
        self, tmp_path: Path, whole: Whole, monkeypatch: pytest.MonkeyPatch
    ):
        class Stopped(Exception):  # noqa: N818
            pass

        def stop(_: str, tally: Tally) -> None:
            if tally.done >= 16:
                raise Stopped

        with pytest.raises(Stopped):
            build(spec(tmp_path), stop, lambda _: None)
        parts = Parts(indexing.folder_of_parts(spec(tmp_path)))
        deadline = time.monotonic() + 60
        while len(parts.published()) < 1 and time.monotonic() < deadline:
            time.sleep(0.1)
        kept = {path: Path(path).stat().st_mtime_ns for path in parts.published().values()}
        monkeypatch.setattr(Parts, "delete", lambda *_: None)  # to look at the parts afterwards
        tallies: list[Tally] = []
        built(spec(tmp_path), tallies)
        assert {path: Path(path).stat().st_mtime_ns for path in kept} == kept, "a published piece was embedded again"
        assert not tallies or tallies[-1].done == tallies[-1].todo < 40
        monkeypatch.undo()
        assert contents(spec(tmp_path).output) == contents(spec(whole.place).output)

    def test_on_object_storage_it_is_the_same(
        self, tmp_path: Path, whole: Whole, s3_port: int, monkeypatch: pytest.MonkeyPatch
    ):
        """By a way that fails now and then, and that lists what was half a second ago."""
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        way = s3.Way(s3_port, seed=6, share=0.05, stale_s=0.5, slow_s=0.05)
        place = s3.uri(s3.bucket(s3_port), way.port)
        found = built(spec(tmp_path, output=place))
        assert found.new
        assert found.manifest == whole.built.manifest
        assert contents(place) == contents(spec(whole.place).output)
        assert not built(spec(tmp_path, output=place)).new
        with pytest.raises(UserError, match="expected limit null as it was begun, found 30"):
            built(spec(tmp_path, output=place, limit=30))
        assert list(tmp_path.iterdir()) == [tmp_path / "cache"]

    def test_a_changed_source_is_refused_on_the_way(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        path = parquet(tmp_path / "x.parquet", 4)
        monkeypatch.setattr(indexing, "embed", lambda *_: None)
        monkeypatch.setattr(indexing, "finish", lambda *_: None)
        built(spec(tmp_path, str(path)))
        parquet(path, 5)
        with pytest.raises(UserError, match=r"expected listing .* as it was begun"):
            built(spec(tmp_path, str(path)))

    def test_damaged_pictures_are_counted_and_listed(self, tmp_path: Path):
        folder = tmp_path / "pictures"
        folder.mkdir()
        for i in range(20):
            (folder / f"{i:02}.png").write_bytes(encoded(i))
        for name in ("text", "truncated"):
            (folder / f"{name}.jpg").write_bytes(DAMAGED[name][0])
        found = built(spec(tmp_path, str(folder)))
        assert (found.manifest.count, found.manifest.quarantined) == (20, 2)
        listed = datasets.Dataset.from_parquet(f"{spec(tmp_path).output}/quarantine.parquet").to_list()
        assert [row["path"] for row in listed] == ["text.jpg", "truncated.jpg"]
        assert listed[0]["reason"].startswith("no picture")

    def test_too_many_damaged_pictures_are_refused_and_the_others_kept(self, tmp_path: Path):
        folder = tmp_path / "pictures"
        folder.mkdir()
        for i in range(6):
            (folder / f"{i}.png").write_bytes(encoded(i) if i < 2 else b"")
        wanted = spec(tmp_path, str(folder))
        with pytest.raises(UserError, match=r"at most 3 of 6 pictures .* found 4, such as 2.png \(an empty file\)"):
            built(wanted)
        assert (Path(wanted.output) / "quarantine.parquet").is_file()
        tallies: list[Tally] = []
        found = built(spec(tmp_path, str(folder), max_quarantined_share=0.8), tallies)
        assert (found.manifest.count, tallies) == (2, [])

    def test_a_set_with_no_picture_at_all_is_refused(self, tmp_path: Path):
        folder = tmp_path / "pictures"
        folder.mkdir()
        (folder / "x.png").write_bytes(b"")
        with pytest.raises(UserError, match="expected at most 0 of 1 pictures in quarantine"):
            built(spec(tmp_path, str(folder)))

    def test_items_are_pictures_to_hugging_face(self, whole: Whole):
        rows = datasets.Dataset.from_parquet(f"{spec(whole.place).output}/items/00001.parquet")
        np.testing.assert_array_equal(np.asarray(rows[3]["image"]), render([128])[0])

    def test_small_copies_may_be_left_out(self, tmp_path: Path):
        built(spec(tmp_path, thumbnail_px=0))
        assert Index.open(spec(tmp_path).output).items([3], ["image"]).to_pylist() == [{"image": None}]

    def test_every_reference_finds_itself(self, tmp_path: Path):
        built(spec(tmp_path, stored="float32"))
        rows = Embed(EMBED)({"image": render(range(100, 140))})
        out = Lookup(LookupSpec(index=spec(tmp_path).output, k=2))(rows)
        assert [found[0] for found in out["nearest"]] == list(range(40))
        assert {scores[0] for scores in out["nearest_score"]} == {0.0}

    def test_a_descriptor_that_is_none_is_one_sentence(self, tmp_path: Path):
        with pytest.raises(ValueError, match="descriptor 'pixels:0': expected pixels:SIDE"):
            built(spec(tmp_path, embed={"model": "pixels:0"}))


def test_an_empty_source_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="source world:5-5: expected at least one picture, found none"):
        built(spec(tmp_path, "world:5-5"))


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path):
    folder = Path(spec(tmp_path).output)
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="expected an empty folder or one of an index, found other files"):
        built(spec(tmp_path))


def test_a_listing_that_goes_on_lacking_pieces_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(indexing, "LISTED_S", 0.06)
    monkeypatch.setattr(indexing, "embed", lambda *_: None)
    with pytest.raises(RunFailed, match="expected every piece of 3 parts of the source, found some missing of 3; run"):
        built(spec(tmp_path))


KILLED = """
import sys
from tests.pipelines.test_index import spec, build
from pathlib import Path
def watch(_, tally):
    print("done", tally.done, flush=True)
build(spec(Path(sys.argv[1]), "world:0-600", piece_rows=8), watch, lambda _: None)
"""


@pytest.mark.ray
@pytest.mark.slow
def test_killed_outright_it_goes_on(tmp_path: Path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.killpg(process.pid, signal.SIGKILL)
    wanted = spec(tmp_path, "world:0-600", piece_rows=8)
    kept = Parts(indexing.folder_of_parts(wanted)).published()
    assert 0 < len(kept) < 75
    subprocess.run(command, check=True, capture_output=True, timeout=250)
    index = Index.open(wanted.output)
    assert index.items(range(600), ["row"])["row"].to_pylist() == list(range(600))
    assert json.loads((index.folder / "build.json").read_text())["source"] == "world:0-600"


CIFAR10 = os.environ.get("SEEDQUAKE_CIFAR10", "")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.skipif(not CIFAR10, reason="SEEDQUAKE_CIFAR10 names no Parquet file of CIFAR-10's pictures")
@pytest.mark.usefixtures("ray_cluster")
def test_real_pictures(tmp_path: Path):
    wanted = spec(tmp_path, CIFAR10, embed={"model": "pixels:16"}, limit=3000, piece_rows=700, shard_rows=1300)
    found = built(wanted)
    assert (found.manifest.count, found.manifest.quarantined, len(found.manifest.shards)) == (3000, 0, 3)
    index = Index.open(wanted.output)
    given = parse(CIFAR10)
    entries = [entry for span in given.spans(700, 3000) for entry in given.entries(span)]
    items = index.items(range(3000)).to_pylist()
    assert [item["label"] for item in items] == [entry.label for entry in entries]
    assert [item["hash"] for item in items] == [read_picture(entry.data or b"").hash for entry in entries]
    vectors = index.gather(index.numbers())
    scores, nearest = brute(vectors[:300], vectors, 3, "l2")
    out = Lookup(LookupSpec(index=wanted.output, k=3))({"embedding": objects(vectors[:300])})
    assert out["nearest"].tolist() == nearest.tolist()
    np.testing.assert_allclose(np.stack(out["nearest_score"]), scores, rtol=2.0**-23)
