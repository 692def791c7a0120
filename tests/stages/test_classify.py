import numpy as np
import pytest
from scipy.special import softmax

from stages.base import objects
from stages.classify import Classify, ClassifySpec
from tests.stages.models.test_classifiers import pictures


@pytest.fixture(scope="module")
def stage(classifier_folder):
    return Classify(ClassifySpec(model=str(classifier_folder), batch=4, threads=1))


@pytest.fixture
def rows():
    images = pictures(*[(32, 32)] * 6)
    return {"image": objects([*images[:5], None]), "label": np.array([0, 1, 2, 6, -1, 3])}


def test_it_agrees_with_the_logits(stage, rows):
    out = stage(rows)
    logits = stage.classifier.logits(list(rows["image"][:5])).numpy()
    probability = softmax(logits, axis=1)
    for row in range(4):
        best, label = np.argsort(-logits[row]), rows["label"][row]
        assert out["top5"][row] == best[:5].tolist()
        np.testing.assert_allclose(out["top5_probability"][row], probability[row][best[:5]], rtol=1e-5)
        np.testing.assert_allclose(out["label_probability"][row], probability[row, label], rtol=1e-5)
        assert out["top1_correct"][row] == (best[0] == label)
        assert out["top5_correct"][row] == (label in best[:5])


def test_missing_pictures_and_labels_stay_missing(stage, rows):
    out = stage(rows)
    assert out["top5"][5] is None
    assert out["top5_probability"][5] is None
    assert len(out["top5"][4]) == 5
    for name in ("label_probability", "top1_correct", "top5_correct"):
        assert np.isnan(out[name][[4, 5]]).all()
        assert np.isfinite(out[name][:4]).all()
    nothing = stage({name: column[5:] for name, column in rows.items()})
    assert np.isnan(nothing["label_probability"]).all()


def test_a_row_depends_on_itself_alone(stage, rows):
    whole = stage(rows)
    order = [4, 2, 0, 5, 1, 3]
    shuffled = stage({name: column[order] for name, column in rows.items()})
    alone = [stage({name: column[[row]] for name, column in rows.items()}) for row in range(6)]
    for name in stage.columns(stage.spec)[1]:
        expected = [repr(value) for value in whole[name].tolist()]
        assert [repr(value) for value in shuffled[name].tolist()] == [expected[row] for row in order]
        assert [repr(one[name].tolist()[0]) for one in alone] == expected


def test_two_judges_have_columns_of_their_own(classifier_folder, stage, rows):
    judge = Classify(ClassifySpec(model=str(classifier_folder), prefix="judge_", top=3))
    assert judge.columns(judge.spec) == (
        ("image", "label"),
        ("judge_top3", "judge_top3_probability", "judge_label_probability", "judge_top1_correct", "judge_top3_correct"),
    )
    both = judge(stage(rows))
    assert both["judge_top3"][0] == both["top5"][0][:3]


def test_a_label_that_is_no_class_is_refused(stage, rows):
    with pytest.raises(ValueError, match="label 900 is none of 7 classes of"):
        stage(rows | {"label": np.full(6, 900)})


def test_fewer_classes_than_asked_for_are_refused(classifier_folder):
    with pytest.raises(ValueError, match="has 7 classes, fewer than top=8"):
        Classify(ClassifySpec(model=str(classifier_folder), top=8))
