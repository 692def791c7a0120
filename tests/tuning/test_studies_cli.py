"""The commands of studies: a plan starts nothing, a mistake is one sentence and status 2."""

import sys
from pathlib import Path

import pytest

from tests.tuning.test_cli import status
from tuning import cli

BAD = {
    "transition transition_small counts=[4,9999]": "at most 4096",
    "transition transition_small budget.steps=3": "budget.steps is not a setting",
    "transition transition_small drawing.descriptor=zoo:none": "the embedded models are",
    "transition transition_smal": "packaged configs are adversarial_cifar10",
    "transition transition_cifar10": "found no cifar10",
    "adversarial adversarial_cifar10": "found no cifar10",
    "finetune finetune_small target.count=10": "expected at most 10 pictures",
    "finetune finetune_small network.width=12": "multiple of 8",
    "adversarial adversarial_small probe.pictures=9999": "expected at most 512, the pictures of the source",
    "adversarial adversarial_small model.accumulate=3": "expected a divisor of budget.batch=32",
    "adversarial adversarial_small attack.passes=0": "greater than or equal to 1",
    "adversarial-tune adversarial_tune_small judging.noises=90": "expected more than 96 pictures, the features of",
    "adversarial-tune adversarial_tune_small space.passes.low=1": "one pass is plain training",
    "adversarial-tune adversarial_tune_small space.norm.values=[l3]": "'l2' or 'linf'",
}


@pytest.mark.parametrize("words", BAD)
def test_a_mistake_is_one_sentence(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    assert status(monkeypatch, *words.split(), f"run.output={tmp_path}") == 2
    err = capsys.readouterr().err
    assert BAD[words] in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command",
    [
        "transition transition_small",
        "finetune finetune_small",
        "adversarial adversarial_small",
        "adversarial-tune adversarial_tune_small",
    ],
)
def test_a_plan_starts_nothing(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(sys, "argv", ["seedquake", *command.split(), f"run.output={tmp_path}", "--plan"])
    cli.main()
    assert "0 are done" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
