"""The page of a memorization question: what it says, and that its controls stand beside it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipelines.ask import report
from pipelines.columns import PNG
from pipelines.memorization_verdict import sentences, verdict
from pipelines.replication import Replication
from pipelines.replication_controls import Controls
from pipelines.save import png
from pipelines.training_set import TrainingSet
from stages.metrics import Proportion
from stages.neighbours import Index
from stages.neighbours.writer import Writer
from tests.pages import addresses
from tests.pipelines.made import memorization, save_measured, training_set, units
from tests.pipelines.test_pairs import near
from tests.pipelines.test_replication import ONE_PROMPT, stored

COUNT = 40


def control(kind: str, scores: np.ndarray) -> pd.DataFrame:
    items = [str(i) for i in range(len(scores))]
    return pd.DataFrame({"kind": kind, "item": items, "score": scores, "nearest": 0})


def controls(background: float, holdout: float | None) -> Controls:
    """Return controls of which these shares score 0.9, and the rest 0.1."""
    shares = {"background": background} | ({} if holdout is None else {"holdout": holdout})
    return Controls(
        {kind: control(kind, np.where(np.arange(200) < share * 200, 0.9, 0.1)) for kind, share in shares.items()}
    )


def answers(folder: Path, noise: float, *overrides: str) -> Replication:
    training = units(COUNT, purpose="training")
    question = memorization(folder, training, ONE_PROMPT, f"seeds.count={COUNT}", *overrides)
    return stored(question, near(training, noise, "samples"))


def test_the_verdict_weighs_samples_against_unseen_pictures(tmp_path: Path):
    copies, new = answers(tmp_path, 0.1), answers(tmp_path, 9.0, "name=new", "seeds.first=1000")
    assert verdict(copies, controls(0.2, 0.1)).startswith("It memorizes: 100.0% of samples replicate")
    assert "unseen real pictures 10.0% do" in verdict(copies, controls(0.2, 0.1))
    assert "other training pictures 20.0% do" in verdict(copies, controls(0.2, None))
    assert verdict(copies, controls(1.0, 1.0)).startswith("It memorizes: 1.000"), "the tail decides where all pass"
    assert verdict(new, controls(1.0, 1.0)).startswith("No more than")
    assert verdict(new, controls(0.3, 0.3)).startswith("No more than pictures that it cannot have copied")
    assert "there is no control" in verdict(copies, Controls({}))
    empty = Replication(memorization(tmp_path, units(COUNT), "name=empty", "seeds.first=5000"))
    assert verdict(empty, Controls({})).startswith("Undecided")


def test_an_approximate_search_is_said_to_bound(tmp_path: Path):
    index_with_pictures(tmp_path, units(COUNT, purpose="training"))
    found = answers(tmp_path, 0.5, "engine={kind: ivf, lists: 2, probes: 1}")
    training = TrainingSet(found.question.index)
    recall = Proportion().of(np.array([1.0] * 9 + [0.0]))
    text = " ".join(sentences(found, Controls({"background": control("background", np.zeros(3))}, recall), training))
    assert "approximate (ivf; it found the nearest for 0.900" in text
    assert "GL is an upper bound" in text
    assert "Without unseen real pictures" in text


def index_with_pictures(folder: Path, vectors: np.ndarray) -> Index:
    """Write an index whose items have pictures and hashes; items 0 and 1 are the same picture."""
    made = training_set(folder, vectors, "plain").manifest
    writer = Writer(folder / "index", vectors.shape[1], "float32", 100)
    rows = [
        {
            "path": f"{i}.png",
            "row": -1,
            "label": None,
            "hash": f"h{max(1, i)}",
            "image": {"bytes": png(np.full((8, 8, 3), i, np.uint8)), "path": None},
        }
        for i in range(len(vectors))
    ]
    kinds = {"path": pa.string(), "row": pa.int64(), "label": pa.int64(), "hash": pa.string(), "image": PNG}
    table = pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in kinds.items()})
    writer.add(vectors, table)
    stated = {n: getattr(made, n) for n in ("score", "model", "weights", "metric", "source", "settings")}
    writer.finish(pa.table({"path": pa.array([], pa.string())}), **stated)
    return Index.open(folder / "index")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("page")
    training = units(COUNT, purpose="training")
    index_with_pictures(folder, training)
    pixels = f"pixels={{index: {pixel_index(folder).folder}}}"
    prompts = "prompts={kind: list, prompts: [one, two, three, four]}"
    question = memorization(folder, training, prompts, "seeds.count=10", pixels)
    drawn = near(training[[5] * 12 + list(range(28))], 0.8, "samples")
    store = stored(question, drawn).store
    distances = [[0.1, 1.0, 2.0, 2.0, 2.0]] * 8 + [[1.0, 1.1, 2.0, 2.0, 2.0]] * 32
    embed, lookup = question.pixel_measures
    save_measured(store, question.grid, embed, [np.zeros(12, np.float32)] * 40)
    save_measured(store, question.grid, lookup, [[0, 1, 2, 3, 4]] * 40, distances)
    return report(question, None, None), question


def pixel_index(folder: Path) -> Index:
    from tests.stages.neighbours.make import write

    return write(
        folder / "pixels", units(COUNT)[:, :12].copy(), "l2", score="pixels@2", model="pixels:2", weights="pixels"
    )


def test_the_report_is_whole(asked):
    found, _ = asked
    text = found.report.read_text()
    assert addresses(text) == []
    for name in ("memorised", "pairs", "groups", "scores", "prompts", "ratios"):
        assert f'id="{name}"' in text
        for kind in ("png", "svg"):
            assert (found.report.parent / "figures" / f"{name}.{kind}").stat().st_size > 1000
    assert "The controls were not measured" in text


def test_tables_name_every_sample_and_every_training_picture(asked):
    found, question = asked
    tables = found.page.tables
    samples = tables["samples"]
    assert len(samples) == 40
    assert set(samples["path"]) <= {f"{i}.png" for i in range(COUNT)}
    assert samples["ratio"].lt(1 / 3).sum() == 8
    groups = tables["groups"].set_index("item")
    assert groups["samples"].iloc[0] == groups.loc[5, "samples"] >= 12
    assert groups["copies_in_training_set"].get(1, 2) == 2
    assert groups["copies_in_training_set"].get(5) == 1
    assert tables["duplicates"].to_dict("records") == [{"hash": "h1", "copies": 2}]
    assert len(tables["prompts"]) == 4
    assert {"simultaneous_low", "p_holm", "replicated_low"} <= set(tables["prompts"].columns)
    assert tables["curve"]["memorised"].is_monotonic_decreasing
    assert np.allclose(tables["curve"]["memorised"] + tables["curve"]["gl"], 1)
    assert "1 of 40 training pictures are exact copies of others" in " ".join(found.page.sentences)
    assert question.spec.pixels.below == pytest.approx(1 / 3)


def test_the_second_criterion_is_said(asked):
    found, _ = asked
    assert any("d1 / d2 < 0.333: 0.200" in s for s in found.page.sentences)
