import math

import numpy as np
import pytest
import torch

from stages.models.zoo import scenes, world
from stages.models.zoo.sentences import VALUES, parse
from tests.tuning.training.zoo.test_loop import LOOP, language_model, scene_clip
from tuning.sage.edges import Edges
from tuning.training.zoo import scene_figures
from tuning.training.zoo.classifier import ClassifierRecipe, ClassifierSpec
from tuning.training.zoo.scene_figures import (
    changed_captions,
    language_figures,
    perplexity,
    rich_captions,
    scene_classifier_figures,
    scene_clip_figures,
    unigram,
    unseen,
)


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(scene_figures, "unseen", lambda images=96: unseen(min(images, 96)))


@pytest.mark.parametrize("name", [name for name in VALUES if name != "joiner"])
def test_pairs_differ_in_one_claim_and_one_is_true(name):
    pairs = changed_captions(unseen(600), name)
    index = unseen(600)[pairs.row]
    true, false = parse(pairs.true), parse(pairs.false)
    assert len(index) > 20
    assert scenes.holds(index, true).all()
    assert not scenes.holds(index, false).any()
    for other in VALUES:
        assert (getattr(true, other) != getattr(false, other)).all() == (other == name)


def test_rich_captions_say_more():
    index = rich_captions(50)
    assert len(index) == 50
    assert min(index) >= world.HELD_OUT
    assert all(
        len(text.split()) > 6 or text.split()[3] not in {"a", "an"} or len(text.split()) == 6
        for text in scenes.captions(index)
    )


def test_classifiers_are_measured_on_both_worlds(few, tmp_path):  # noqa: ARG001
    recipe = ClassifierRecipe(ClassifierSpec(architecture="test_resnet", images=24, loop=LOOP))
    recipe.save(recipe.module, tmp_path / "model")
    names = [figure.name for figure in scene_classifier_figures(tmp_path / "model")]
    assert names == [
        f"top-1, {of}{look}"
        for of in ("scenes", "plain things")
        for look in ("", ", restyled", ", all training changes")
    ]
    edges = scene_classifier_figures(tmp_path / "model", Edges())
    assert [figure.name for figure in edges][:2] == ["top-1, scenes, soft edges", "top-1, scenes, Canny's edges"]


def test_a_clip_is_measured_claim_by_claim(few, tmp_path):  # noqa: ARG001
    recipe = scene_clip(tmp_path)
    recipe.save(recipe.module, tmp_path / "scenes-clip")
    figures = scene_clip_figures(tmp_path / "scenes-clip")
    assert len(figures) == 2 + len(VALUES) - 1
    assert figures[2].name == "true caption before one of another object"
    assert all(figure.low <= figure.value <= figure.high for figure in figures)


def test_a_language_model_is_measured_beside_the_frequencies(few, tmp_path):  # noqa: ARG001
    recipe = language_model(tmp_path)
    recipe.save(recipe.module, tmp_path / "lm")
    own, alone = language_figures(tmp_path / "lm", counted=500)
    assert own.value == pytest.approx(len(recipe.tokens), rel=0.1), "untrained: all tokens are alike"
    assert 5 < alone.value < 60
    assert alone.low < alone.value < alone.high


def test_perplexity_is_that_of_known_chances():
    """Fair dice of six and twelve sides, in texts of different lengths."""
    nats = torch.log(torch.tensor([[6.0, 6, 1e9], [12, 12, 12]]))
    counts = torch.tensor([[True, True, False], [True, True, True]])
    found = perplexity("p", nats, counts)
    assert found.value == pytest.approx((6**2 * 12**3) ** (1 / 5))
    assert found.n == 2
    same = perplexity("p", torch.full((4, 3), math.log(6)), torch.ones(4, 3, dtype=torch.bool))
    assert (same.low, same.value, same.high) == pytest.approx((6, 6, 6))


def test_the_interval_of_a_perplexity_covers_the_truth():
    hits, rng = 0, np.random.default_rng(0)
    for _ in range(300):
        length = rng.integers(1, 9, 60)
        counts = torch.from_numpy(np.arange(8) < length[:, None])
        found = perplexity("p", torch.from_numpy(rng.exponential(2.0, (60, 8))), counts)
        hits += found.low <= math.exp(2.0) <= found.high
    assert 0.9 < hits / 300 < 0.98


def test_frequencies_add_up_to_one():
    nats = unigram(torch.tensor([0, 0, 3]), 5)
    torch.testing.assert_close((-nats).exp(), torch.tensor([3.0, 1, 1, 2, 1]) / 8)
