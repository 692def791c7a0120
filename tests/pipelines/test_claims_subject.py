"""What claims rest on: a question of pipelines, or anything else that answers; a ledger asks each once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from typing_extensions import override

from pipelines import claims_cli, tracking
from pipelines.claims import CLAIMS, brittle, ledger
from pipelines.claims.claim import Claim, Range
from pipelines.claims.subject import Answered, Kept, OfQuestion, Subject
from pipelines.config import UserError
from pipelines.question import AnyQuestion
from pipelines.run import RunSpec
from stages.metrics import Estimate


class Told(Subject[float]):
    """A number that is its own answer; counts how often it was asked."""

    answers = 0

    @property
    @override
    def run(self) -> Kept:
        return RunSpec()

    @property
    @override
    def questions(self) -> tuple[AnyQuestion, ...]:
        return ()

    @override
    def check(self) -> None:
        if self.asked < 0:
            raise ValueError(f"told: expected a number of at least 0, found {self.asked}; name a larger one")

    @override
    def plan(self) -> Iterator[str]:
        yield from ("What number is it?", f"numbers    {self.asked:g}")

    @override
    def refuse(self) -> None:
        pass

    @override
    def answer(self, console: Console) -> Answered:
        self.answers += 1
        return Answered(Path("runs/told"), "no model; 1 number")


def told(config: str, overrides: list[str]) -> Told:
    return Told(float(config) + sum(float(one.removeprefix("=")) for one in overrides))


def of(number: float) -> Estimate:
    return Estimate(value=number, low=number, high=number, n=1, method="told")


BOTH = {
    name: Claim(name, "It is so.", "a book", "2", "the number", holds, of, told)
    for name, holds in (("told/small", Range(high=2.5)), ("told/large", Range(low=3)))
}


@pytest.fixture
def stored(tmp_path):
    tracking.open_store(tracking.address(None, str(tmp_path)), "test")
    return tmp_path


def test_a_subject_is_asked_once_for_all_its_claims(stored):
    wanted = list(BOTH.values())
    asked = ledger.subjects(wanted, [])
    with tracking.tracked("claims", "claims") as tracker:
        found = list(ledger.measure(wanted, asked, stored, tracker, Console()))
    assert [one.verdict for one in found] == ["reproduced", "contradicted"]
    assert {one.model for one in found} == {"no model; 1 number"}
    assert asked["2"].answers == 1
    page = ledger.page(ledger.kept(stored, BOTH | CLAIMS), BOTH | CLAIMS)
    assert page.index("## a book") < page.index(f"## {brittle.PAPER}")
    assert page.count("no model; 1 number") == 2


@pytest.mark.usefixtures("stored")
def test_a_run_within_a_run_is_under_it():
    with tracking.tracked("claims", "claims") as outer:
        with tracking.tracked("a study", "study") as inner:
            inner.metrics({"found": 1.0})
        outer.metrics({"claim": 2.0})
    runs = {name: outer.mlflow.get_run(one.id).data for name, one in (("outer", outer), ("inner", inner))}
    assert runs["inner"].tags["mlflow.parentRunId"] == outer.id
    assert (runs["inner"].metrics, runs["outer"].metrics) == ({"found": 1.0}, {"claim": 2.0})


def test_a_plan_tells_the_claims_of_each_subject(capsys):
    claims_cli.examine(BOTH, [], None, plan=True)
    assert capsys.readouterr().out.splitlines() == [
        "2: What number is it?",
        "  numbers    2",
        "  told/small: It is so.",
        "  told/large: It is so.",
    ]


def test_what_a_subject_refuses_is_the_users_to_fix():
    with pytest.raises(UserError, match="expected a number of at least 0, found -1"):
        claims_cli.examine(BOTH, ["=-3"], None, plan=True)


def test_a_question_is_a_subject(tmp_path):
    subject = OfQuestion.resolved(brittle.CONFIG, [f"run.output={tmp_path}", "seeds.count=1"])
    subject.check()
    (line,) = subject.plan()
    assert line.endswith("0 of them in the store; time not known before a first run; try seeds.count=1")
    assert subject.questions == (subject.asked,)
    assert subject.run.output == str(tmp_path)
    assert not list(tmp_path.iterdir())
