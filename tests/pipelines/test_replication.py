"""What is replicated, against what ten lines of numpy say."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from pipelines.memorization import Memorization
from pipelines.replication import Replication, complement, ratio
from pipelines.store import Store
from stages.metrics import Proportion
from stages.neighbours import search
from tests.pipelines.made import memorization, save_measured, save_rows, units
from tests.pipelines.test_pairs import near

ONE_PROMPT = "prompts={kind: list, prompts: [a photo of a circle]}"


def stored(question: Memorization, drawn: np.ndarray, failed: tuple[int, ...] = ()) -> Replication:
    """Store the descriptors of all samples [rows d] and what the search finds for them."""
    store, grid = Store(question.spec.store), question.grid
    save_rows(store, grid, failed)
    found = search(question.index, drawn, question.spec.k, question.spec.engine)
    kept = [n not in failed for n in range(len(grid))]
    columns = [
        [row if keep else None for row, keep in zip(c, kept, strict=True)] for c in (drawn, found.items, found.scores)
    ]
    save_measured(store, grid, question.descriptor, columns[0])
    save_measured(store, grid, question.lookup, columns[1], columns[2])
    return Replication(question)


def test_gl_is_that_of_brute_force(tmp_path: Path):
    training = units(2000, purpose="training")
    question = memorization(tmp_path, training, ONE_PROMPT, "seeds.count=2000", "k=3")
    drawn = near(training, 1.5, "samples")
    found = stored(question, drawn)
    every = drawn.astype(np.float64) @ training.astype(np.float64).T
    assert found.generalization().value == 1 - np.mean(every.max(axis=1) > 0.6)
    assert found.memorized(0.7).value == np.mean(every.max(axis=1) > 0.7)
    np.testing.assert_array_equal(found.items[:, 0], every.argmax(axis=1))
    assert 0.1 < found.memorized().value < 0.9
    wilson = Proportion().of((every.max(axis=1) > 0.6).astype(float))
    assert (found.memorized().low, found.memorized().high) == (wilson.low, wilson.high)
    np.testing.assert_array_equal(found.scores, np.sort(every, axis=1)[:, :-4:-1].astype(np.float32))


def test_training_pictures_are_all_replicated(tmp_path: Path):
    training = units(48, purpose="training")
    question = memorization(tmp_path, training, ONE_PROMPT, "seeds.count=48", "threshold=0.99")
    gl = stored(question, training).generalization()
    assert (gl.value, gl.n) == (0.0, 48)
    assert gl.low == pytest.approx(0)
    assert gl.high < 0.1


def test_what_failed_is_missing_and_never_a_new_picture(tmp_path: Path):
    training = units(30, purpose="training")
    question = memorization(tmp_path, training, ONE_PROMPT, "seeds.count=30")
    found = stored(question, training, failed=(2, 3))
    assert (found.memorized().value, found.memorized().n, found.memorized().n_missing) == (1.0, 28, 2)
    assert found.items[2].tolist() == [-1] * 5
    assert (
        Replication(memorization(tmp_path, training, "name=empty", "model=zoo:text-to-image", "seeds.first=99"))
        .memorized()
        .n
        == 0
    )


def test_replicates_are_grouped_by_the_training_picture(tmp_path: Path):
    training = units(20, purpose="training")
    question = memorization(tmp_path, training, ONE_PROMPT, "seeds.count=20")
    drawn = training[[3] * 5 + [7] * 3 + [1]]
    drawn = np.concatenate([near(drawn, 0.1, "samples"), units(11, purpose="new")])
    groups = [g for g in stored(question, drawn).groups if g.item in (3, 7, 1)]
    assert [(g.item, len(g.rows)) for g in groups] == [(3, 5), (7, 3), (1, 1)]
    scores = Replication(question).best[list(groups[0].rows)]
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    assert groups[0].best == scores[0]


def test_a_prompt_that_replicates_is_told_from_the_others(tmp_path: Path):
    training = units(30, purpose="training")
    prompts = "prompts={kind: list, prompts: [one, two, three, four]}"
    question = memorization(tmp_path, training, prompts, "seeds.count=30", "threshold=0.9")
    drawn = units(30, 4, purpose="new")
    drawn[:, 2] = near(training, 0.1, "samples")
    found = stored(question, drawn.reshape(120, -1)).prompts
    assert question.prompts[found[0].prompt].text == "three"
    assert found[0].share.value == 1.0
    assert found[0].simultaneous.low < found[0].share.low
    assert found[0].p_value == stats.fisher_exact([[30, 0], [0, 90]]).pvalue
    assert found[0].p_holm == pytest.approx(4 * found[0].p_value)
    assert all(p.p_holm == 1 or p.share.value < 0.5 for p in found[1:])


def test_the_ratio_passes_copies_over():
    distances = np.array(
        [[1.0, 4.0, 5.0], [0.0, 0.0, 2.0], [2.0, 2.0, 4.0], [3.0, 3.0, 3.0], [0.0, 0.0, 0.0], [np.nan] * 3]
    )
    np.testing.assert_array_equal(ratio(distances), [0.25, 0.0, 0.5, np.nan, np.nan, np.nan])


def test_a_complement_keeps_its_interval():
    share = Proportion().of(np.array([1.0, 0, 0, 0]))
    rest = complement(share)
    assert (rest.value, rest.low, rest.high) == (0.75, 1 - share.high, 1 - share.low)
