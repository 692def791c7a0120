import numpy as np
import pytest
import timm
import torch

from stages.base import objects
from stages.features import Features, FeaturesSpec
from stages.models import zoo
from stages.models.classifiers import load_classifier
from stages.models.placement import channels_last
from stages.models.spec import ModelSpec
from stages.models.zoo.world import labels, render
from tests.stages.models.descriptors.tiny import pictures
from tests.stages.models.tiny import save_classifier


@pytest.fixture(scope="module")
def stage(classifier_folder):
    return Features(FeaturesSpec(model=str(classifier_folder), batch=4, threads=1))


@pytest.fixture
def rows():
    return {"image": objects([*pictures(*[(32, 32, 3)] * 4, (20, 50, 3)), None])}


def test_features_and_probabilities_are_timms(stage, rows, classifier_folder):
    model = timm.create_model(f"local-dir:{classifier_folder}", pretrained=True).eval()
    x = stage.classifier.preprocess(list(rows["image"][:5]))
    with torch.inference_mode():
        pooled = model.forward_head(model.forward_features(x), pre_logits=True)
        probabilities = model(x).softmax(dim=1)
    out = stage(rows)
    for row in range(5):
        np.testing.assert_allclose(out["features"][row], pooled[row], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(out["probabilities"][row], probabilities[row], rtol=1e-5)
        assert out["features"][row].dtype == out["probabilities"][row].dtype == np.float32


def test_without_a_picture_there_is_nothing(stage, rows):
    out = stage(rows)
    assert out["features"][5] is None
    assert out["probabilities"][5] is None
    assert stage({"image": objects([None])})["features"].tolist() == [None]


def test_a_row_depends_on_itself_alone(stage, rows):
    whole, order = stage(rows)["features"], [4, 2, 0, 5, 1, 3]
    shuffled = stage({"image": rows["image"][order]})["features"]
    for place, row in enumerate(order):
        np.testing.assert_array_equal(shuffled[place], whole[row])


def test_the_embedded_classifier_sees_its_world():
    stage = Features(FeaturesSpec(model="zoo:classifier", batch=16, threads=1))
    found = stage.vectors(list(render(range(32))))
    assert found.features.shape == (32, 96)
    assert (found.probabilities.argmax(axis=1) == labels(range(32))).mean() > 0.9
    network = timm.create_model(f"local-dir:{zoo.path('classifier')}", pretrained=True).eval()
    channels_last(network)  # as ours on a CPU, to the last bit
    with torch.inference_mode():
        x = stage.classifier.preprocess(list(render(range(16))))
        pooled = network.forward_head(network.forward_features(x), pre_logits=True)
    np.testing.assert_array_equal(found.features[:16], pooled.numpy())


@pytest.mark.parametrize("resize", ["bilinear", "bicubic"])
def test_a_resize_squeezes_whole_pictures(tmp_path, resize):
    """A classifier that crops sees its crop with its own transform, and the whole picture with a resize."""
    save_classifier(tmp_path, crop=0.875)
    stage = Features(FeaturesSpec(model=str(tmp_path), resize=resize, batch=2, threads=1))
    (wide,) = pictures((20, 50, 3))
    cut = wide.copy()
    cut[:, :5] = 0  # what a crop of the middle does not see
    own = Features(FeaturesSpec(model=str(tmp_path), batch=2, threads=1))
    assert (own.vectors([wide]).features == own.vectors([cut]).features).all()
    assert (stage.vectors([wide]).features != stage.vectors([cut]).features).any()
    fits = pictures((32, 32, 3))
    expected = load_classifier(ModelSpec(model=str(tmp_path))).preprocess.normalised(fits)
    with torch.inference_mode():
        pooled = stage.classifier.network.forward_head(
            stage.classifier.network.forward_features(expected), pre_logits=True
        )
    np.testing.assert_allclose(stage.vectors(fits).features, pooled, rtol=1e-5, atol=1e-6)


def test_two_extractors_have_columns_and_names_of_their_own(stage):
    spec = FeaturesSpec(model="zoo:judge", resize="bicubic", prefix="judge_")
    assert Features.columns(spec) == (("image",), ("judge_features", "judge_probabilities"))
    assert spec.name == "zoo:judge, bicubic resize"
    assert stage.columns(stage.spec)[1] == ("features", "probabilities")
