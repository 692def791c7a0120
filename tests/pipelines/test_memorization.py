"""The settings of a memorization question: what is refused, before anything is drawn."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.cli import check
from pipelines.plan import lines, plan
from tests.pipelines.made import memorization, training_set, units
from tests.stages.neighbours.make import write


@pytest.fixture
def training() -> np.ndarray:
    return units(40, purpose="training")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("threshold=1.5", "threshold: .* less than or equal to 1; found 1.5"),
        ("threshold=-1.01", "threshold: .* greater than or equal to -1; found -1.01"),
        ("threshold=null", "threshold: expected a number, since .* comes with no calibrated one"),
        ("k=41", "expected k of 1 to 40, the number of references, found 41"),
        (
            "reference=nowhere",
            "reference: index .*nowhere: expected the folder of an index, found none; `seedquake index",
        ),
        ("holdout=nowhere", "holdout: index .*nowhere: expected the folder of an index, found none"),
        ("pixels.index=nowhere", "pixels.index: index .*nowhere: expected the folder of an index"),
        ("engine={kind: exakt}", "engine"),
        ("prompts={kind: none}", "prompts: expected texts for zoo:text-to-image"),
    ],
)
def test_mistakes_are_one_sentence(override: str, said: str, tmp_path: Path, training: np.ndarray):
    with pytest.raises(ValueError, match=said) as caught:
        check(memorization(tmp_path, training, override))
    assert "\n" not in str(caught.value)


def test_an_empty_reference_is_refused(tmp_path: Path):
    (tmp_path / "index").mkdir()
    with pytest.raises(ValueError, match=r"reference: index .*: expected index.json, found none"):
        memorization(tmp_path, units(4))


def test_an_index_of_other_weights_is_refused(tmp_path: Path, training: np.ndarray):
    training_set(tmp_path, training, weights="older")
    with pytest.raises(ValueError, match=r"reference: expected an index made with the weights .* found one of older"):
        memorization(tmp_path, training)


def test_an_index_of_another_resizing_is_refused(tmp_path: Path, training: np.ndarray):
    training_set(tmp_path, training, score="descriptor@64x64")
    with pytest.raises(ValueError, match=r"reference: expected scores that .* gives, found descriptor@64x64"):
        memorization(tmp_path, training)


def test_unseen_pictures_must_be_described_alike(tmp_path: Path, training: np.ndarray):
    training_set(tmp_path, training, "unseen", score="descriptor@32")
    with pytest.raises(ValueError, match="holdout: expected an index of descriptor@32x32, found one of descriptor@32;"):
        memorization(tmp_path, training, f"holdout={tmp_path / 'unseen'}")


def test_an_index_by_pixels_is_the_second_criterion_only(tmp_path: Path, training: np.ndarray):
    pixels = write(tmp_path / "pixels", units(40), "l2", score="pixels@2", model="pixels:2", weights="pixels")
    with pytest.raises(ValueError, match=r"reference: expected an index whose scores are cosines, .* pixels.index"):
        memorization(tmp_path, training, f"reference={pixels.folder}")
    found = memorization(tmp_path, training, f"pixels.index={pixels.folder}")
    assert [m.columns for m in found.pixel_measures] == [
        ("pixels_embedding",),
        ("pixels_nearest", "pixels_nearest_score"),
    ]


def test_both_indexes_hold_the_same_pictures(tmp_path: Path, training: np.ndarray):
    stated = {"score": "pixels@2", "model": "pixels:2", "weights": "pixels"}
    write(tmp_path / "fewer", units(39), "l2", **stated)
    write(tmp_path / "others", units(40), "l2", **stated | {"source": "elsewhere"})
    for name, found in (("fewer", "found the 39 of toys"), ("others", "found the 40 of elsewhere")):
        with pytest.raises(ValueError, match=f"expected the 40 pictures of toys, as in reference, {found}"):
            memorization(tmp_path, training, f"pixels.index={tmp_path / name}")
    with pytest.raises(ValueError, match=r"pixels.index: expected an index by pixels:SIDE, found one of descriptor"):
        memorization(tmp_path, training, f"pixels.index={tmp_path / 'index'}")


def test_what_is_found_depends_on_the_index_and_not_on_where_it_lies(tmp_path: Path, training: np.ndarray):
    here = memorization(tmp_path, training)
    (tmp_path / "index").rename(tmp_path / "moved")
    moved = memorization(tmp_path, training, f"reference={tmp_path / 'moved'}")
    assert here.lookup.table == moved.lookup.table
    training_set(tmp_path, units(40, purpose="others"), "others")
    other = memorization(tmp_path, training, f"reference={tmp_path / 'others'}")
    assert here.lookup.table != other.lookup.table
    assert here.descriptor.table == other.descriptor.table


def test_a_plan_says_what_it_looks_up_and_what_counts(tmp_path: Path, training: np.ndarray):
    question = memorization(tmp_path, training)
    text = "\n".join(lines(question, plan(question)))
    assert "looked up among 40 pictures of toys by exact; replicate: descriptor@32x32 > 0.6 (from the config)" in text
    for word in ("Embed", "Lookup", "nearest_score"):
        assert word in text


def test_the_embedded_descriptor_brings_its_threshold(tmp_path: Path):
    from stages.models.source import fingerprint

    stated = {"score": "zoo:descriptor@64x64", "model": "zoo:descriptor"}
    weights = fingerprint("zoo:descriptor", "descriptor")
    write(tmp_path / "index", units(40), **stated, weights=weights)
    found = memorization(tmp_path, units(40), "threshold=null")
    assert 0 < found.threshold.value < 1
    assert "64 px" in found.threshold.source
