"""A memorization question as a user runs it: index, samples, controls, and a second index over the same samples."""

from pathlib import Path

import pandas as pd
import pyarrow.dataset as pads
import pytest
import yaml

from stages.models.zoo.world import HELD_OUT
from tests.e2e.commands import reported_again, seedquake
from tests.pages import addresses
from tests.pipelines.made import world_index

pytestmark = pytest.mark.e2e
SMALL = (
    "prompts.limit=4",
    "prompts.values.colour=[red]",
    "seeds.count=3",
    "sampler={scheduler: ddim, steps: 2, guidance: 4.0}",
    "run.batch_size=8",
    "run.generate.actors=1",
    "k=2",
)


def ask(cwd: Path, *overrides: str, status: int = 0) -> tuple[str, str]:
    return seedquake("memorization", "memorization_demo", *SMALL, *overrides, cwd=cwd, status=status)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cwd = tmp_path_factory.mktemp("e2e")
    words = ("index", "build", "world:0-60", "--output", "runs/index/training", "--descriptor", "zoo:descriptor")
    seedquake(*words, cwd=cwd)
    world_index(cwd / "runs" / "index" / "unseen", HELD_OUT, HELD_OUT + 40, "zoo:descriptor")
    world_index(cwd / "runs" / "index" / "pixels", 0, 60, "pixels:16")
    out, _ = ask(cwd, "pixels.index=runs/index/pixels")
    assert "unseen real pictures" in out
    assert "GL = " in out
    return cwd / "runs"


def samples(output: Path) -> list[dict]:
    return sorted(pads.dataset(output / "store" / "samples").to_table().to_pylist(), key=lambda row: row["sample_id"])


def folder(output: Path, name: str = "memorization_demo") -> Path:
    (found,) = output.glob(f"{name}-*")
    return found


def test_every_sample_has_its_nearest_training_picture(run: Path):
    rows = pd.read_parquet(folder(run) / "tables" / "samples.parquet")
    assert len(rows) == 12 == len(samples(run))
    assert rows["item"].between(0, 59).all()
    assert (rows["path"] == "world").all()
    assert (rows["row_in_path"] == rows["item"]).all()
    assert rows["ratio"].between(0, 1).all()


def test_what_is_stored_is_what_the_index_gives(run: Path):
    """The lookup of the run, by brute force over the stored embeddings and the vectors of the index."""
    import numpy as np

    from stages.neighbours import Index

    tables = {t.name.partition("-")[0]: [] for t in (run / "store" / "measured").iterdir()}
    for table in (run / "store" / "measured").iterdir():
        tables[table.name.partition("-")[0]].append(pads.dataset(table).to_table())
    (embedded,) = [t for t in tables["embed"] if "embedding" in t.column_names]
    (found,) = [t for t in tables["lookup"] if "nearest" in t.column_names]
    index = Index.open(run / "index" / "training")
    vectors = index.gather(index.numbers()).astype(np.float64)
    best = {i: (np.array(v) @ vectors.T).max() for i, v in zip(*embedded.to_pydict().values(), strict=True)}
    for name, scores in zip(found["sample_id"].to_pylist(), found["nearest_score"].to_pylist(), strict=True):
        assert scores[0] == np.float32(best[name])


def test_the_report_is_whole(run: Path):
    page = (folder(run) / "report.html").read_text()
    assert addresses(page) == []
    for name in ("memorised", "pairs", "scores", "prompts"):
        assert (folder(run) / "figures" / f"{name}.png").stat().st_size > 1000
    assert "Control, unseen real pictures" in page
    assert yaml.safe_load((folder(run) / "spec.yaml").read_text())["question"] == "memorization"
    assert len(pd.read_parquet(folder(run) / "controls.parquet")) == 60 + 40


def test_a_report_is_made_again_from_the_rows(run: Path):
    before, after = reported_again(folder(run))
    assert after == before


@pytest.mark.slow
def test_another_index_draws_and_embeds_nothing(run: Path):
    before = samples(run)
    embedded = sorted((run / "store" / "measured").glob("embed-*"))
    world_index(run / "index" / "others", 60, 100, "zoo:descriptor")
    out, _ = ask(run.parent, "reference=runs/index/others", "name=others", "engine={kind: ivf, lists: 4, probes: 1}")
    assert "12 of them in the store" in out
    assert "drawing" not in out
    assert samples(run) == before
    assert sorted((run / "store" / "measured").glob("embed-*")) == embedded
    page = (folder(run, "others") / "report.html").read_text()
    assert "GL is an upper bound" in page
    assert "it found the nearest for" in page


def test_mistakes_are_one_sentence(run: Path):
    for override, said in (
        ("reference=runs/index/nothing", "expected the folder of an index, found none"),
        ("k=61", "expected k of 1 to 60"),
        ("threshold=3", "less than or equal to 1"),
        ("holdout=runs/index/pixels", "expected an index of zoo:descriptor@64x64, found one of pixels@16"),
    ):
        _, err = ask(run.parent, override, status=2)
        assert said in err
        assert "Traceback" not in err
