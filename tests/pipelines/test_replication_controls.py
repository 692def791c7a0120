"""The controls: on real actors the same as brute force, kept for a report without Ray, a picture never its own copy."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.memorization import Memorization
from pipelines.replication_controls import Gather, GatherSpec, chosen, controls, together
from stages.base import objects
from stages.neighbours import Index
from tests.pipelines.made import memorization, training_set, units
from tests.pipelines.test_pairs import near
from tests.pipelines.test_replication import ONE_PROMPT, stored


def training_pictures() -> np.ndarray:
    """Return 60 vectors of which 7 and 40 are the same, and 8 is near 41."""
    vectors = units(60, purpose="training")
    vectors[40], vectors[41:42] = vectors[7], near(vectors[8:9], 0.2, "near")
    return vectors


def asked(folder: Path, *overrides: str) -> tuple[Memorization, np.ndarray, np.ndarray]:
    """Return a question with its training pictures and those that were not trained on."""
    training = training_pictures()
    unseen = near(training[:30], 0.4, "unseen")
    training_set(folder, training)
    if not (folder / "unseen").is_dir():
        training_set(folder, unseen, "unseen")
    given = (ONE_PROMPT, "seeds.count=60", f"holdout={folder / 'unseen'}", "controls=40", *overrides)
    return memorization(folder, training, *given), training, unseen


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_controls_are_those_of_brute_force_and_are_kept(tmp_path: Path):
    question, training, unseen = asked(tmp_path)
    stored(question, near(training, 0.3, "samples"))
    assert controls(question, None).kinds == []
    found = controls(question, lambda *_: None)
    every = training.astype(np.float64) @ training.T.astype(np.float64)
    np.fill_diagonal(every, -2)
    items = found.frames["background"]["item"].astype(int).to_numpy()
    assert len(items) == 40
    np.testing.assert_allclose(found.frames["background"]["score"], every.max(axis=1)[items], atol=1e-6)
    assert (found.frames["background"]["nearest"].to_numpy() != items).all()
    across = unseen.astype(np.float64) @ training.T.astype(np.float64)
    assert len(found.frames["holdout"]) == 30
    np.testing.assert_allclose(found.frames["holdout"]["score"], across.max(axis=1), atol=1e-6)
    assert found.recall is None
    again = controls(question, None)
    assert again.frames["background"]["score"].tolist() == found.frames["background"]["score"].tolist()
    other, *_ = asked(tmp_path, "controls=41", "name=memorization_demo")
    assert controls(other, None).kinds == []


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_an_approximate_search_says_how_often_it_is_right(tmp_path: Path):
    one_list = "engine={kind: ivf, lists: 8, probes: 1}"
    question, training, _ = asked(tmp_path, one_list, "recall_queries=50", "k=1")
    found = stored(question, near(training, 0.8, "samples"))
    recall = controls(question, lambda *_: None).recall
    drawn = near(training, 0.8, "samples").astype(np.float64)
    best = (drawn @ training.T.astype(np.float64)).max(axis=1)[:50].astype(np.float32)
    assert recall.n == 50
    assert recall.value == np.mean(found.best[:50] >= best)
    assert recall.value < 1


def test_a_picture_is_not_its_own_nearest():
    batch = {
        "item": np.array([4, 2, 9]),
        "nearest": objects([[4, 7], [1, 2], [9]]),
        "nearest_score": objects([[1.0, 0.5], [1.0, 1.0], [1.0]]),
    }
    found = together("background", [batch])
    assert found["item"].tolist() == ["2", "4", "9"]
    assert found["nearest"].tolist() == [1, 7, -1]
    np.testing.assert_array_equal(found["score"], [1.0, 0.5, np.nan])


def test_the_same_items_are_drawn_every_time(tmp_path: Path):
    index: Index = training_set(tmp_path, units(60))
    first, second = (chosen(index, 20, "background") for _ in range(2))
    assert first.tolist() == second.tolist() == sorted(set(first.tolist()))
    assert chosen(index, 99, "background").tolist() == list(range(60))


def test_vectors_are_read_as_they_are_stored(tmp_path: Path):
    vectors = units(60)
    index = training_set(tmp_path, vectors)
    batch = Gather(GatherSpec(index=str(index.folder)))({"item": np.array([3, 50, 3])})
    np.testing.assert_array_equal(np.stack(batch["embedding"]), vectors[[3, 50, 3]])
