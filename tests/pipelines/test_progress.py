"""Progress where there is no terminal: a line with what is done, how fast, how long still."""

import io
import time

from rich.console import Console

from pipelines.progress import Watcher
from pipelines.run import Tally


def test_lines_say_how_fast_and_how_long():
    out = io.StringIO()
    tally = Tally(todo=100, done=50, failed=2, started=time.monotonic() - 12, first_row=2.0, first_done=10)
    with Watcher(Console(file=out, force_terminal=False, width=200)) as watch:
        watch("drawing", tally)
        watch("drawing", Tally(todo=100, done=60))
        watch("drawing", Tally(todo=60, done=60))
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("drawing: 50 of 100, 4.0/s, 2 failed, 1")
    assert lines[0].endswith("s left")
    assert lines[1].startswith("drawing: 60 of 60")
    assert len(lines) == 2


def test_the_rate_leaves_out_the_first_batch_which_waited_for_the_actors():
    assert Tally(todo=9).rate != Tally(todo=9).rate
    tally = Tally(todo=100, done=30, started=time.monotonic() - 30, first_row=20.0, first_done=10)
    assert abs(tally.rate - 2) < 0.1
