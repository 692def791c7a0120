"""Scores of pairs of models, against what ten lines of numpy say."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.pairs import Pairs
from pipelines.reproducibility import Reproducibility
from pipelines.store import Store
from tests.pipelines.made import reproducibility, save_measured, save_rows, units
from tests.pipelines.test_reproducibility import model, of_classes  # noqa: F401  a fixture

SAME = "models=[{name: a, model: 'zoo:text-to-image'}, {name: b, model: 'zoo:text-to-image'%s}]"
OTHER = SAME % ", sampler: {scheduler: dpmpp, steps: 5}"
ONE_PROMPT = "prompts={kind: list, prompts: [a photo of a circle]}"


def near(vectors: np.ndarray, noise: float, purpose: str) -> np.ndarray:
    """Return unit vectors at about the same distance from the given ones."""
    found = vectors + noise * units(*vectors.shape[:-1], purpose=purpose)
    return (found / np.linalg.norm(found, axis=-1, keepdims=True)).astype(np.float32)


def stored(question: Reproducibility, *drawn: np.ndarray, failed: tuple[int, ...] = ()) -> Pairs:
    """Store what each model drew: descriptors [seeds prompts d]; pixels are those numbers too."""
    store = Store(question.spec.store)
    for grid, vectors in zip(question.grids, drawn, strict=True):
        save_rows(store, grid, failed)
        rows = [None if n in failed else v for n, v in enumerate(vectors.reshape(len(grid), -1))]
        save_measured(store, grid, question.descriptor, rows)
        if question.pixels:
            save_measured(store, grid, question.pixels, rows)
    return Pairs(question)


@pytest.mark.parametrize("seeds", [2000])
def test_rp_is_that_of_brute_force(tmp_path: Path, seeds: int):
    question = reproducibility(tmp_path, OTHER, ONE_PROMPT, f"seeds.count={seeds}", "plane=null")
    a = units(seeds, 1)
    b = near(a, 1.2, "other")
    pairs = stored(question, a, b)
    (rp,), (mae,) = pairs.of("RP"), pairs.of("MAE")
    every = a[:, 0].astype(np.float64) @ b[:, 0].astype(np.float64).T
    assert rp.agreement.value == np.mean(np.diag(every) > 0.6)
    assert rp.floor.value == np.mean(np.diag(np.roll(every, -1, axis=1)) > 0.6)
    assert 0.2 < rp.agreement.value < 0.9
    np.testing.assert_array_equal(rp.same[:, 0], np.diag(every).astype(np.float32))
    assert rp.agreement.n == seeds
    off = np.abs(a[:, 0].astype(np.float64) - b[:, 0]).mean(axis=1) * 255
    assert mae.agreement.value == np.mean(off < 15)
    np.testing.assert_allclose(mae.same[:, 0], off, rtol=1e-12)


def test_the_chance_that_the_same_noise_is_closer_is_that_of_every_pair(tmp_path: Path):
    question = reproducibility(tmp_path, OTHER, ONE_PROMPT, "seeds.count=60", "plane=null", "mae=null")
    a = units(60, 1)
    (rp,) = stored(question, a, near(a, 1.2, "other")).all
    assert rp.separation.value == pytest.approx(np.mean(rp.same > rp.other.T))


def test_identical_models_agree_always(tmp_path: Path):
    question = reproducibility(tmp_path, SAME % "", "seeds.count=20", "plane=null")
    drawn = units(20, 24)
    for c in stored(question, drawn, drawn).all:
        assert c.agreement.value == 1.0
        assert c.agreement.n == 480


def test_what_failed_is_missing_and_never_zero(tmp_path: Path):
    question = reproducibility(tmp_path, SAME % "", ONE_PROMPT, "seeds.count=20", "plane=null")
    drawn = units(20, 1)
    rp = stored(question, drawn, drawn, failed=(3, 4)).all[0]
    assert (rp.agreement.value, rp.agreement.n, rp.agreement.n_missing) == (1.0, 18, 2)
    assert rp.floor.n_missing == 3


def test_one_seed_has_no_independent_noise(tmp_path: Path):
    question = reproducibility(tmp_path, SAME % "", "seeds.count=1", "plane=null")
    rp = stored(question, units(1, 24), units(1, 24)).all[0]
    assert (rp.agreement.n, rp.floor.n, rp.gain.n) == (24, 0, 0)


def test_classes_by_brute_force(tmp_path: Path, model: Path):  # noqa: F811
    """RP without a class, RP_cond within a class, RP_between from no class to the nearest of all classes."""
    question = of_classes(tmp_path, model, "seeds.count=300", "plane=null", "mae=null", "threshold=0.4")
    a = units(300, 3)
    b = near(a, 1.0, "other")
    pairs = stored(question, a, b)
    met = np.einsum("spd,spd->sp", a.astype(np.float64), b.astype(np.float64)) > 0.4
    assert pairs.kinds == ("RP", "RP_cond", "RP_between")
    assert pairs.of("RP")[0].agreement.value == met[:, 0].mean()
    assert pairs.of("RP_cond")[0].agreement.value == met[:, 1:].mean()
    between = {(c.first, c.second): c for c in pairs.of("RP_between")}
    assert sorted(between) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for (first, second), c in between.items():
        x, y = (d.astype(np.float64) for d in ((a, b)[first], (a, b)[second]))
        nearest = np.einsum("sd,spd->sp", x[:, 0], y[:, 1:]).max(axis=1)
        assert c.agreement.value == np.mean(nearest > 0.4)
        by_chance = np.einsum("sd,spd->sp", x[:, 0], np.roll(y, -1, axis=0)[:, 1:]).max(axis=1)
        assert c.floor.value == np.mean(by_chance > 0.4)


def test_prompts_that_share_their_noise_are_one_cluster(tmp_path: Path):
    """24 prompts that agree on every noise carry what one does."""
    shared, own = (
        reproducibility(tmp_path, OTHER, "seeds.count=50", f"seeds.shared={s}", "plane=null", f"name=is_{s}")
        for s in ("true", "false")
    )
    a = units(50, 1).repeat(24, axis=1)
    b = np.where(np.arange(50)[:, None, None] % 2 == 0, a, -a)
    width = {}
    for question in (shared, own):
        rp = stored(question, a, b).all[0]
        assert rp.agreement.value == 0.5
        width[question.spec.name] = rp.agreement.high - rp.agreement.low
    assert width["is_true"] > 4 * width["is_false"]
