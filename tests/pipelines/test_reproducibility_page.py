"""The page of a comparison: what it says, and that every number comes with its interval and its control."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.ask import report
from pipelines.pairs import Pairs
from pipelines.reproducibility_page import page, verdict
from pipelines.store import Store
from tests.pages import addresses
from tests.pipelines.made import reproducibility, save_measured, save_rows, units
from tests.pipelines.test_pairs import ONE_PROMPT, OTHER, near, stored

KEPT = (ONE_PROMPT, "seeds.count=60", "plane=null", "mae=null")


def said(folder: Path, a: np.ndarray, b: np.ndarray) -> str:
    return verdict(stored(reproducibility(folder, OTHER, *KEPT), a, b))


def test_the_verdict_weighs_agreement_against_chance(tmp_path: Path):
    a = units(60, 1)
    one = np.broadcast_to(a[:1], a.shape)
    half = np.where(np.arange(60)[:, None, None] % 4 == 0, a, units(60, 1, purpose="apart"))
    assert said(tmp_path / "1", a, near(a, 0.2, "other")).startswith(
        "Reproducible: a and b draw the same picture from 100%"
    )
    assert said(tmp_path / "2", a, half).startswith("Partly reproducible")
    shared = reproducibility(tmp_path / "7", OTHER, "seeds={count: 30, shared: true}", "plane=null", "mae=null")
    same = units(30, 24)
    assert verdict(stored(shared, same, same)).startswith("Reproducible: a and b draw the same picture from 100%")
    related = near(a, 3.5, "other")
    assert said(tmp_path / "6", a, related).startswith("Related, but not the same: a and b draw the same picture from")
    assert said(tmp_path / "3", a, units(60, 1, purpose="apart")).startswith("Not reproducible")
    assert said(tmp_path / "4", one, one).startswith("Undecided at this threshold")
    assert verdict(Pairs(reproducibility(tmp_path / "5", OTHER, *KEPT))).startswith("Undecided: no two pictures")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory):
    question = reproducibility(tmp_path_factory.mktemp("page"), "seeds.count=4", "plane={points: 4}")
    a = units(4, 24)
    stored(question, a, near(a, 0.5, "b"), near(a, 1.5, "c"))
    for grid in question.planes:
        save_rows(Store(question.spec.store), grid)
        save_measured(Store(question.spec.store), grid, question.descriptor, units(16))
    return report(question, None, None)


def test_the_report_is_whole(asked):
    folder = asked.report.parent
    text = asked.report.read_text()
    assert addresses(text) == []
    for name in ("curves", "noises", "matrix", "scores", "plane"):
        assert f'id="{name}"' in text
        for kind in ("png", "svg"):
            assert (folder / "figures" / f"{name}.{kind}").stat().st_size > 1000
    for name in ("pairs", "curves", "scores"):
        assert (folder / "tables" / f"{name}.parquet").is_file()


def test_the_least_alike_pair_decides(asked):
    assert "DDIM 10 and DPM-Solver++ 10, the least alike of 3 pairs" in asked.page.verdict


def test_tables_hold_every_interval_and_every_id(asked):
    pairs, scores = asked.page.tables["pairs"], asked.page.tables["scores"]
    assert len(pairs) == 6
    ends = ["same_noise_low", "same_noise_high", "same_noise_n", "independent_noise_low", "difference", "separation"]
    assert set(ends) <= set(pairs.columns)
    assert (pairs["same_noise_n"] == 96).all()
    assert len(scores) == 6 * 96
    assert scores["first_id"].str.len().eq(32).all()
    assert (scores["first_id"] != scores["second_id"]).all()


def test_a_report_is_made_again_from_the_rows(asked):
    question = reproducibility(asked.report.parents[2], "seeds.count=4", "plane={points: 4}")
    again = page(question, None)
    assert again.verdict == asked.page.verdict
    assert again.shown.equals(asked.page.shown)
    assert {n: list(c) for n, c in again.curves.items()} == {n: list(c) for n, c in asked.page.curves.items()}
