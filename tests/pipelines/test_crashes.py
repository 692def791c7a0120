"""What is done about rows that end their process, as far as it needs no Ray; tests/faults has the rest."""

import subprocess
import sys
import time

import numpy as np
import pytest

from pipelines.crashes import cut, joined, set_aside
from stages.base import objects

BATCH = {
    "number": np.arange(5),
    "prompt": objects("abcde"),
    "image": objects(np.full((2, 2, 3), i, np.uint8) for i in range(5)),
    "png": objects([b"x"] * 5),
    "embedding": objects(np.ones(3) for _ in range(5)),
    "score": np.arange(5.0),
    "error": objects([None] * 5),
}


@pytest.mark.parametrize("at", range(1, 5))
def test_a_batch_taken_apart_is_joined_again(at: int):
    again = joined([cut(BATCH, 0, at), cut(BATCH, at, 5)])
    assert again.keys() == BATCH.keys()
    for name, column in BATCH.items():
        assert again[name].dtype == column.dtype
        np.testing.assert_array_equal(np.stack(list(again[name])), np.stack(list(column)))


def test_a_row_set_aside_keeps_what_it_is_and_loses_what_was_made_of_it():
    aside = set_aside(cut(BATCH, 2, 3), "why")
    assert (aside["number"].tolist(), aside["prompt"].tolist(), aside["error"].tolist()) == ([2], ["c"], ["why"])
    assert [aside[name][0] for name in ("image", "png", "embedding")] == [None] * 3
    assert BATCH["image"][2] is not None


@pytest.mark.parametrize("hang", ["time.sleep(60)", "ctypes.PyDLL(None).sleep(60)"])
def test_a_process_that_hangs_is_ended(hang: str):
    code = (
        "import ctypes, time; from pipelines import crashes; crashes.GRACE_S = 0.5\n"
        f"with crashes.ended_after(0.2, lambda: print('noted', flush=True)): {hang}"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (1, "noted" if "PyDLL" not in hang else "")
    assert time.monotonic() - started < 30


def test_a_process_in_time_goes_on():
    code = (
        "import time; from pipelines import crashes; crashes.GRACE_S = 0\n"
        "with crashes.ended_after(0.2, lambda: None): pass\n"
        "time.sleep(0.5); print('alive')"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True).stdout == "alive\n"
