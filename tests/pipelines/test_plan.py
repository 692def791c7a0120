"""Plans: what there is to do, in little memory, and what is known to fail."""

import shlex
import tracemalloc
from pathlib import Path

import pytest

from pipelines.config import UserError, load
from pipelines.pace import Pace
from pipelines.plan import duration, lines, plan, refuse, size
from pipelines.rates import rates_of, read_rates, remember
from pipelines.robustness import Robustness, RobustnessSpec
from pipelines.sweep import Swept
from stages.base import objects


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
    assert len(read_rates(str(tmp_path))) == 1


def test_rates_of_actors_are_kept_by_pool_and_node(tmp_path: Path):
    asked = question(tmp_path)
    pace = Pace()
    pace.add(objects(['["Generate", "A100", 0.5]', '["Generate", "A100", 1.5]\n["Classify", "", 0.125]', None]))
    swept = Swept(drawn=3, failed=0, reused=0, seconds=10, rate=8.0, first_row=1.0, saved=0, paces=(pace,))
    remember(asked, swept)
    assert rates_of(asked.draws[0]) == {("Generate", "A100"): 1.0, ("Classify", ""): 8.0}
    assert rates_of(question(tmp_path, "run.batch_size=2").draws[0]) == {}


def test_a_broken_rate_file_is_no_rate(tmp_path: Path):
    (tmp_path / "rates.json").write_text("[1, 2")
    assert read_rates(str(tmp_path)) == {}


NODES = [{"CPU": 8.0, "GPU": 1.0, "accelerator_type:A100": 1.0}] * 2 + [
    {"CPU": 8.0, "GPU": 2.0, "accelerator_type:H200": 1.0}
]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["run.generate.gpus=1"],
            '"run.generate.kinds=[{accelerator: A100, actors: 2}, {accelerator: H200, actors: 2}]"',
        ),
        (["run.generate.gpus=0.5", "run.generate.kinds=[{accelerator: H200}]"], "[{accelerator: H200, actors: 4}]"),
        (["run.layout=staged"], "run.generate.actors=21 run.measure.actors=1; run.pools=fitted"),
        (["run.generate.gpus=1", "run.generate.actors=5"], "refused    robustness: expected a cluster with at least 5"),
        (["run.generate.gpus=1"], "nodes      2 x A100, 8 CPU, 1 GPU; 1 x H200, 8 CPU, 2 GPU"),
        (["run.pools=fitted"], "pool       as many as fit x (Generate + "),
        ([], "not known before a first run in this layout: the rate of Generate + "),
    ],
)
def test_a_plan_says_what_a_running_ray_holds(tmp_path: Path, overrides: list[str], said: str):
    asked = question(tmp_path, "run.generate.actors=1", *overrides)
    assert said in "\n".join(lines(asked, plan(asked), NODES))


def test_a_plan_names_no_size_where_not_even_one_actor_fits(tmp_path: Path):
    asked = question(tmp_path, "run.generate.gpus=4", "run.generate.actors=1")
    said = list(lines(asked, plan(asked), NODES))
    (refused,) = (line for line in said if line.startswith("refused"))
    assert "of 1 times 4 GPUs only 0 fit nodes of 2 x 1, 1 x 2" in refused
    assert not any(line.startswith("fits") for line in said)


def test_what_a_plan_says_to_set_is_a_setting(tmp_path: Path):
    asked = question(tmp_path, "run.generate.gpus=1", "run.layout=staged")
    (fits,) = (line for line in lines(asked, plan(asked), NODES) if line.startswith("fits"))
    words = shlex.split(fits.removeprefix("fits").partition(";")[0])
    run = question(tmp_path, "run.generate.gpus=1", "run.layout=staged", *words).spec.run
    assert run.generate.places == ["A100", "A100", "H200", "H200"]


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
