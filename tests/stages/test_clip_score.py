import numpy as np
import pytest

from stages.base import objects
from stages.clip_score import ClipScore, ClipScoreSpec
from tests.stages.models.test_classifiers import pictures


@pytest.fixture(scope="module")
def stage(clip_folder):
    return ClipScore(ClipScoreSpec(model=str(clip_folder), batch=2, threads=1))


@pytest.fixture
def rows():
    images = pictures(*[(32, 32)] * 4)
    return {"image": objects([None, *images]), "prompt": objects(["a cat", "a dog", "a cat", "a red car", "x"])}


def test_the_score_is_a_hundred_times_the_positive_cosine(stage, rows):
    out = stage(rows)
    expected = stage.clip.cosine(list(rows["image"][1:]), list(rows["prompt"][1:])).numpy()
    np.testing.assert_allclose(out["clip_cosine"][1:], expected, atol=1e-6)
    np.testing.assert_array_equal(out["clip_score"], 100 * np.maximum(out["clip_cosine"], 0))


def test_missing_pictures_stay_missing(stage, rows):
    out = stage(rows)
    assert np.isnan([out["clip_score"][0], out["clip_cosine"][0]]).all()
    assert np.isfinite(out["clip_cosine"][1:]).all()


def test_a_row_depends_on_itself_alone(stage, rows):
    whole = stage(rows)["clip_cosine"]
    alone = [stage({name: column[[row]] for name, column in rows.items()})["clip_cosine"][0] for row in range(5)]
    np.testing.assert_array_equal(alone, whole)


def test_columns_carry_the_prefix(stage):
    spec = stage.spec.model_copy(update={"prefix": "large_"})
    assert stage.columns(spec) == (("image", "prompt"), ("large_clip_score", "large_clip_cosine"))
