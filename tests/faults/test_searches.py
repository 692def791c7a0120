"""A search whose trials, nodes or driver are lost at random moments: no trial lost, none twice, the same result."""

from pathlib import Path

import pytest

from tests.faults.scenes import play
from tests.faults.searches import KINDS

SEARCHES = "tests.faults.searches"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_search_loses_nothing_with_a_trial_a_node_and_its_driver(tmp_path: Path):
    found = play("all", tmp_path, len(KINDS), SEARCHES)
    assert found["moments"] == dict.fromkeys(KINDS, 1)


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("kind", KINDS)
def test_a_search_that_is_struck_often_finds_the_same(tmp_path: Path, kind: str):
    found = play(kind, tmp_path, 20, SEARCHES)
    assert found["moments"] == {kind: 20}
    assert found["finished"] > 0, "it was never struck after an attempt was done"
