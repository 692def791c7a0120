"""Clocks that jump at random moments: no row is lost, none drawn twice, and no run waits or gives up for it."""

from pathlib import Path

import pytest

from tests.faults.clocks import shifted
from tests.faults.scenes import play


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_clock_that_jumps_by_an_hour_changes_nothing(tmp_path: Path):
    found = play("jumped_clocks", tmp_path, 20, "tests.faults.clocks", **shifted(tmp_path))
    assert len(found["seen"]) == 20
    for asked, here, there in found["seen"]:
        assert abs(here - asked) < 30, "the driver's clock did not jump"
        assert abs(there - asked) < 30, "the clock of Ray's processes did not jump"
