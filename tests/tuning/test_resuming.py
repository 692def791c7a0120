"""What a kill has left of Ray Tune's state of a search: the last that is whole counts, whatever clocks said."""

import json
import pickle
from pathlib import Path

import pytest

from tuning.resuming import EARLIER, restorable

FIRST, SECOND = "2026-11-26_10-00-00", "2026-11-26_11-00-00"
PICKLED = ("search_gen_state-{}.json", "searcher-state-{}.pkl")


def leave(folder: Path, driver: str, mark: str) -> dict[str, Path]:
    """Leave the state of a driver's search, as Ray names it."""
    (folder / "tuner.pkl").write_bytes(pickle.dumps("tuner"))
    files = {form: folder / form.format(driver) for form in ("experiment_state-{}.json", *PICKLED)}
    for form, file in files.items():
        file.write_bytes(pickle.dumps([mark] * 100) if form in PICKLED else json.dumps([mark]).encode())
    return files


def taken_up(folder: Path) -> str:
    """Return which state Ray would take up: the last by name."""
    (state,) = folder.glob("experiment_state-*")
    assert sorted(file.name for file in folder.iterdir()) == sorted(
        ["tuner.pkl", state.name, *(form.format(EARLIER) for form in PICKLED)]
    )
    (mark,) = json.loads(state.read_text())
    return str(mark)


def test_without_a_state_there_is_nothing_to_take_up(tmp_path):
    assert not restorable(tmp_path / "nothing")
    (tmp_path / "tuner.pkl").write_bytes(pickle.dumps("tuner"))
    assert not restorable(tmp_path)


def test_a_whole_state_is_taken_up_again_and_again(tmp_path):
    leave(tmp_path, FIRST, "first")
    for _ in range(3):
        assert restorable(tmp_path)
        assert taken_up(tmp_path) == "first"


@pytest.mark.parametrize(("before", "after"), [(FIRST, SECOND), (SECOND, FIRST)], ids=["in order", "clock set back"])
def test_the_last_driver_counts_whatever_its_clock_said(tmp_path, before, after):
    leave(tmp_path, before, "before")
    assert restorable(tmp_path)
    leave(tmp_path, after, "after")
    assert restorable(tmp_path)
    assert taken_up(tmp_path) == "after"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99, None])
@pytest.mark.parametrize("form", ["experiment_state-{}.json", *PICKLED])
def test_a_state_that_was_cut_is_none(tmp_path, form, share):
    leave(tmp_path, FIRST, "first")
    assert restorable(tmp_path)
    for left in (True, False):
        file = leave(tmp_path, SECOND, "second")[form]
        if share is None:
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
        assert restorable(tmp_path) == left
        if left:
            assert taken_up(tmp_path) == "first"
            for one in tmp_path.glob(f"*{EARLIER}*"):
                one.unlink()
    assert [file.name for file in tmp_path.iterdir()] == ["tuner.pkl"]


def test_without_its_settings_no_state_counts(tmp_path):
    leave(tmp_path, FIRST, "first")
    (tmp_path / "tuner.pkl").write_bytes(pickle.dumps("tuner")[:-1])
    assert not restorable(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["tuner.pkl"]
