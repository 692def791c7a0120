"""Plans: what there is to do, in little memory, and what is known to fail."""

import tracemalloc
from pathlib import Path

import pytest

from pipelines.config import UserError, load
from pipelines.plan import duration, lines, plan, read_rates, refuse, remember, size
from pipelines.robustness import Robustness, RobustnessSpec
from pipelines.sweep import Swept


def question(output: Path, *overrides: str) -> Robustness:
    return Robustness(load(RobustnessSpec, "robustness_demo", [f"run.output={output}", *overrides]))


def test_a_plan_counts_rows_and_names_every_step(tmp_path: Path):
    asked = question(tmp_path)
    found = plan(asked)
    assert (found.rows, found.stored) == (len(asked.grid), 0)
    text = "\n".join(lines(asked, found))
    for word in ("Generate", "SaveSamples", "Classify", "ClipScore", "Appearance", "pool", "rows", "time", "disk"):
        assert word in text
    assert list(tmp_path.iterdir()) == []


def test_ambiguous_labels_are_named(tmp_path: Path):
    asked = question(tmp_path, "prompts={kind: template, classes: imagenet100}")
    assert any("crane" in line and "517" in line for line in lines(asked, plan(asked)))


def test_a_measured_rate_gives_the_time(tmp_path: Path):
    asked = question(tmp_path)
    remember(asked, Swept(drawn=100, failed=0, reused=0, seconds=10, rate=8.0, first_row=1.0, saved=0))
    assert plan(asked).seconds == pytest.approx(len(asked.grid) / 8)
    assert len(read_rates(asked)) == 1


def test_a_broken_rate_file_is_no_rate(tmp_path: Path):
    (tmp_path / "rates.json").write_text("[1, 2")
    assert read_rates(question(tmp_path)) == {}


def test_planning_a_hundred_million_rows_is_light(tmp_path: Path):
    asked = question(tmp_path, "prompts.values.colour=[red]", "seeds.count=400000")
    tracemalloc.start()
    assert plan(asked).rows > 10**8
    assert tracemalloc.get_traced_memory()[1] < 2**28
    tracemalloc.stop()


def test_what_is_known_to_fail_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"run\.device"):
        refuse(asked := question(tmp_path, "run.device=cuda"), plan(asked))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        refuse(asked := question(tmp_path / "file" / "runs"), plan(asked))
    found = plan(asked := question(tmp_path))
    with pytest.raises(UserError, match="make room"):
        refuse(asked, type(found)(**{**vars(found), "disk_bytes": 1e18}))


@pytest.mark.parametrize(
    ("value", "said"), [(30, "30 seconds"), (200, "3.3 minutes"), (9000, "2.5 hours"), (10**6, "11.6 days")]
)
def test_durations(value: float, said: str):
    assert said in duration(value)


def test_sizes():
    assert [size(n) for n in (10, 2048, 3 * 2**30, 2**42)] == ["10 B", "2 KiB", "3 GiB", "4.0 TiB"]
    assert "not known" in size(float("nan"))
