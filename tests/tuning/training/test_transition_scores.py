"""Scores of a study whose models drew what the test wrote down."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from tuning.training.networks import UNet
from tuning.training.pictures import WorldPictures
from tuning.training.settings import Budget
from tuning.training.transition import Member, TransitionSpec
from tuning.training.transition_page import page, verdict
from tuning.training.transition_scores import WORDS, TransitionScores
from tuning.training.trial import Drawing

NOISES = 60


def study(output, counts=(4, 8, 16)) -> TransitionSpec:
    return TransitionSpec(
        name="study",
        source=WorldPictures(side_px=8, count=64, classes=False),
        counts=counts,
        network=UNet(width=8),
        widths=(8, 16),
        budget=Budget(pictures=1),
        drawing=Drawing(noises=NOISES, descriptor="pixels:8", threshold=0.5, features=None),
        run={"output": str(output)},
    )


def write(spec: TransitionSpec, member: Member, embeddings: np.ndarray, novel: float) -> None:
    """Write what a model drew; the share `novel` of it lies far from the training set."""
    far = np.arange(NOISES) < novel * NOISES
    task = spec.task(member)
    task.folder.mkdir(parents=True)
    found = {
        "pictures": np.zeros((NOISES, 8, 8, 3), np.uint8),
        "embeddings": embeddings.astype(np.float32),
        "features": np.empty((NOISES, 0), np.float32),
        "nearest": np.where(far, 1.0, 0.1).astype(np.float32),
        "ratio": np.where(far, 0.9, 0.1).astype(np.float32),
        "background": np.full(member.size, 1.0, np.float32),
        "unseen": np.full(NOISES, 1.0, np.float32),
    }
    save_file(found, task.measured)


def transition(spec: TransitionSpec, alike: dict[int, float], novel: dict[int, float]) -> TransitionScores:
    """Write a study in which two widths agree on a share `alike` of the noises."""
    base = np.arange(NOISES)[:, None] * np.array([[10.0, 0.0]])
    for member in spec.members():
        moved = member.width == 16 and np.arange(NOISES) >= alike[member.size] * NOISES
        write(spec, member, base + np.array([[0.0, 3.0]]) * np.atleast_2d(moved).T, novel[member.size])
    return TransitionScores(spec)


def value(scores: TransitionScores, kind: str, count: int, of: str) -> float:
    (found,) = [s for s in scores.of(kind) if (s.count, s.of) == (count, of)]
    return found.estimate.value


def test_shares_are_those_written_down(tmp_path):
    scores = transition(study(tmp_path), alike={4: 1, 8: 0.5, 16: 0.75}, novel={4: 0, 8: 0.5, 16: 1})
    assert [value(scores, "RP, widths", n, "8 and 16") for n in (4, 8, 16)] == [1, 0.5, 0.75]
    assert [value(scores, "GL", n, "16") for n in (4, 8, 16)] == [0, 0.5, 1]
    assert [value(scores, "copies", n, "8") for n in (4, 8, 16)] == [1, 0.5, 0]
    assert [value(scores, "RP, sets", n, "8") for n in (4, 8, 16)] == [1, 1, 1]
    assert [value(scores, "RP, optimal", n, "16") for n in (4, 8, 16)] == [1, 0.5, 0.75]
    assert value(scores, "floor", 4, "8 and 16") == 0
    assert value(scores, "GL, unseen", 4, "source") == 1
    assert value(scores, "background", 16, "source") == 0


def test_two_sets_of_the_same_noises_are_no_more_than_one(tmp_path):
    scores = transition(study(tmp_path), alike={4: 0.5, 8: 0.5, 16: 0.5}, novel={4: 0, 8: 0, 16: 0})
    (both, *_) = scores.of("RP, widths")
    assert both.estimate.n == 2 * NOISES
    assert f"59 effective of {2 * NOISES} rows in {NOISES} clusters" in both.estimate.method


@pytest.mark.parametrize(
    ("alike", "novel", "said"),
    [
        ((1, 0.2, 0.8), (0, 0.5, 1), "Reproduced at this size"),
        ((0.2, 0.5, 0.8), (0, 0.5, 1), "Partly reproduced"),
        ((1, 0.2, 0.8), (0.6, 0.8, 1), "No transition within these sizes"),
    ],
)
def test_the_verdict_needs_both_curves(tmp_path, alike, novel, said):
    sizes = (4, 8, 16)
    scores = transition(study(tmp_path), *(dict(zip(sizes, shares, strict=True)) for shares in (alike, novel)))
    assert verdict(scores).startswith(said)


def test_missing_pictures_are_counted(tmp_path):
    spec = study(tmp_path)
    for member in spec.members():
        rows = np.zeros((NOISES, 2))
        rows[:3] = np.nan
        write(spec, member, rows, novel=1)
    estimate = TransitionScores(spec).of("RP, widths")[0].estimate
    assert (estimate.n, estimate.n_missing) == (2 * (NOISES - 3), 6)


def test_the_page_keeps_every_score(tmp_path):
    spec = study(tmp_path)
    scores = transition(spec, alike={4: 1, 8: 0.2, 16: 0.8}, novel={4: 0, 8: 0.5, 16: 1})
    made = page(spec)
    assert [p.name for p in made.pictures] == ["transition", "pictures"]
    rows = [axis.get_ylabel().split("\n")[0] for axis in made.pictures[1].figure.axes if axis.get_ylabel()]
    assert list(dict.fromkeys(rows)) == ["N = 4", "N = 8", "N = 16"]
    assert list(made.shown["N"]) == ["4", "8", "16"]
    table = scores.distributions()
    rp = table[(table["score"] == "RP, widths") & (table["pictures"] == 8)]
    assert len(rp) == 2 * NOISES
    assert (rp["value"] < 0.5).mean() == pytest.approx(0.2, abs=0.02)
    assert {"value", "value_low", "value_high", "value_n", "value_missing"} <= set(scores.table(WORDS).columns)
