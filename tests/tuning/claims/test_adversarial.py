"""Claims of adversarial training: which number decides, and the settings that they rest on."""

import math

import pytest

from stages.metrics import Estimate
from tuning.claims import CLAIMS, adversarial
from tuning.claims.subject import OfStudy


def kept(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.1, high=value + 0.1, n=32, method="made up")


def test_the_least_favourable_cell_decides():
    found = adversarial.largest([kept(-0.3), kept(-0.05), kept(-0.2)])
    assert found.value == -0.05
    assert math.isnan(adversarial.largest([kept(-0.3), adversarial.NOTHING]).value)
    assert math.isnan(adversarial.largest([]).value)


@pytest.mark.parametrize("claim", adversarial.CLAIMS, ids=lambda claim: claim.name)
def test_the_configs_measure_what_claims_rest_on(claim):
    subject = claim.subject(claim.config, [])
    assert isinstance(subject, OfStudy)
    subject.check()
    study = subject.asked
    assert {*claim_pairs(claim, study)} <= set(study.controls())
    if claim.config == adversarial.TWINS:
        assert set(adversarial.against_noisier(study)) <= set(study.models())
    assert 5 in study.quality.nfe or claim.config == adversarial.STUDENTS
    assert CLAIMS[claim.name] is claim


def claim_pairs(claim, study) -> list[tuple[str, str]]:
    """Return the comparisons that a claim may rest on."""
    if claim.config == adversarial.STUDENTS:
        return [study.headline()]
    return [adversarial.attacked(study), ("noisier inputs", "fine-tuned")]


def test_what_a_study_leaves_out_settles_nothing(tmp_path):
    study = adversarial.twins(
        adversarial.TWINS, ["quality=null", "shaken=null", "searched=null", f"run.output={tmp_path}"]
    ).asked
    named = [claim for claim in adversarial.CLAIMS if claim.config == adversarial.TWINS and claim.name != "at/robust"]
    assert len(named) == 8
    assert all(math.isnan(claim.measure(study).value) for claim in named)
