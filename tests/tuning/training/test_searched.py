"""What searches of twins came to, from outcomes written down by hand."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from stages.models import zoo
from tuning.sage import outcomes
from tuning.sage.latents.study import LatentStudySpec
from tuning.sage.outcomes import Outcome
from tuning.search import SearchRun
from tuning.training.searched import Searched, SearchedSpec, done

SETTINGS = {
    "surrogate": {
        "labels": ["circle", "square"],
        "members": [{"kind": "classifier", "model": "zoo:classifier"}],
        "judge": {"kind": "classifier", "model": "zoo:judge"},
    },
    "seeds": 3,
    "group": 4,
}


def studies(tmp_path) -> dict[str, LatentStudySpec]:
    run = SearchRun(output=str(tmp_path))
    return SearchedSpec.model_validate(SETTINGS).of(
        {"easy": zoo.path("pixel-fixed"), "hard": zoo.path("pixel-learned")}, run
    )


def write(study: LatentStudySpec, came: str) -> None:
    """Keep an outcome a seed: f a failure found, n one without search, - none."""
    for task in study.tasks("search").values():
        for attempt, how in zip(task.attempts, came[: len(task.attempts)], strict=True):
            outcomes.keep(
                task.outcomes,
                Outcome(attempt=attempt, evaluations=1 if how == "n" else 10, natural=how == "n", success=how == "f"),
            )
        came = came[len(task.attempts) :]


@pytest.fixture
def searched(tmp_path) -> Searched:
    found = studies(tmp_path)
    write(found["easy"], "fffn-f")
    write(found["hard"], "f--f-n")
    return Searched(found, [("hard", "easy")])


def test_every_model_is_searched_from_the_same_seeds(tmp_path):
    easy, hard = studies(tmp_path).values()
    assert easy.attempts() == hard.attempts()
    assert [attempt.prompt for attempt in easy.attempts()] == ["circle"] * 3 + ["square"] * 3
    assert easy.run.output == str(tmp_path)
    assert {Path(study.model) for study in (easy, hard)} == {zoo.path("pixel-fixed"), zoo.path("pixel-learned")}


def test_a_search_has_no_model_of_its_own():
    with pytest.raises(ValidationError, match="model"):
        SearchedSpec.model_validate(SETTINGS | {"model": "zoo:text-to-image"})


def test_only_seeds_that_fail_by_neither_count(searched):
    """Of six pairs the fourth and the last are out; of the other four, two lose their failure."""
    change = searched.change(("hard", "easy"))
    assert (change.value, change.n, change.n_missing) == (-0.5, 4, 2)
    assert change.low < -0.5 < change.high
    back = searched.change(("easy", "hard"))
    assert (back.value, back.low, back.high) == pytest.approx((0.5, -change.high, -change.low))


def test_the_page_says_it(searched):
    table, changes = searched.tables().values()
    assert list(table["model"]) == ["easy", "hard"]
    assert list(table["searches"]) == [6, 6]
    assert list(table["pictures a failure"]) == ["12", "25"]
    assert changes["more searches find a failure"].str.startswith("-0.50").all()
    assert list(changes["n"]) == [4]
    (said,) = searched.sentences()
    assert said.startswith("In 1 of 1 comparisons how often a search finds a failure does not differ clearly")


def test_nothing_searched_is_no_number(tmp_path):
    found = studies(tmp_path)
    assert done(found["easy"].tasks("search").values()) == {}
    empty = Searched(found, [("hard", "easy")])
    table, changes = empty.tables().values()
    assert list(changes["more searches find a failure"]) == ["-"]
    assert list(table["pictures a failure"]) == ["-", "-"]
    assert empty.change(("hard", "easy")).n == 0
