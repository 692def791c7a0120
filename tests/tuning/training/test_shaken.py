"""Brittleness of a study's models on rows whose truth is known."""

import math

import pytest

from pipelines.factorial_answers import FactorialAnswers
from tests.pipelines.test_factorial import factorial
from tests.pipelines.test_factorial_page import COMPARED, STRENGTHS, columns
from tuning.training.shaken import Shaken


def shaken(tmp_path, a: float, b: float, pairs=(("a", "b"),)) -> Shaken:
    """Two models that lose so much of top-1 for each sigma."""
    question = factorial(tmp_path, COMPARED, "factors={}", STRENGTHS, "seeds.count=60", "clip=null")
    rows = [columns(question, cell, lost=lambda _, z, lost=lost: lost * z) for cell, lost in enumerate((a, b))]
    return Shaken(FactorialAnswers(question, rows), pairs)


def test_the_model_that_loses_less_is_ahead_of_its_control(tmp_path):
    found = shaken(tmp_path, 0.02, 0.09)
    change = found.change(("a", "b"))
    assert change.value == pytest.approx(0.07, abs=0.015)
    assert change.low > 0
    assert found.change(("b", "a")).value == pytest.approx(-change.value)
    (said,) = found.sentences()
    assert said.startswith("Under shifts of the seed a loses less than b: +0.0")


def test_models_that_lose_alike_are_not_told_apart(tmp_path):
    found = shaken(tmp_path, 0.05, 0.05, (("a", "b"), ("b", "a")))
    assert found.change(("a", "b")).value == 0
    (said,) = found.sentences()
    assert said.startswith("In 2 of 2 comparisons what they lose under shifts of the seed does not differ clearly")


def test_every_comparison_is_in_a_table(tmp_path):
    _, changes = shaken(tmp_path, 0.02, 0.09, (("a", "b"), ("b", "a"))).tables().values()
    assert changes[["model", "control"]].to_numpy().tolist() == [["a", "b"], ["b", "a"]]
    assert changes["loses less by"].str[:4].tolist() == ["+0.0", "-0.0"]


def test_the_table_has_a_row_a_model_and_the_control_of_its_norm(tmp_path):
    table, _ = shaken(tmp_path, 0.02, 0.09).tables().values()
    assert list(table["model"]) == ["a", "b"]
    assert table["unshifted"].str.startswith("1.000").all()
    assert table["in a random direction"].str.startswith(("0.000", "-0.000")).all()


def test_a_score_that_was_not_asked_for_is_no_response(tmp_path):
    found = shaken(tmp_path, 0.02, 0.09)
    assert "clip_score" not in found.answers.metrics
    assert math.isfinite(found.answers.slope.cells.values[0])
