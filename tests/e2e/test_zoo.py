"""The cards of the embedded models, measured again by the command that users have for it."""

from pathlib import Path

import pytest

from stages.models.zoo import NAMES
from tests.e2e.commands import seedquake


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_figure_of_the_cards_is_measured_again(name: str, tmp_path: Path):
    out, _ = seedquake("zoo", "verify", name, cwd=tmp_path)
    assert name in out
    assert "differs" not in out
