"""The transition study: which models it trains, on what, and what it refuses; both packaged configs."""

import io

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import UserError, load
from tuning.studies_cli import CONFIGS
from tuning.training.transition import Member, TransitionSpec

SHA256 = "0" * 64


def spec(*overrides: str, config: str = "transition_small") -> TransitionSpec:
    return load(TransitionSpec, config, overrides, CONFIGS)


def cifar10(folder, rows: int = 50_000) -> str:
    """Write a file with the schema and the number of rows of CIFAR-10, all of them one picture."""
    file = io.BytesIO()
    PIL.Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(file, "PNG")
    image = pa.array([{"bytes": file.getvalue(), "path": "one.png"}]).take(pa.array(np.zeros(rows, np.int64)))
    pq.write_table(pa.table({"image": image}), folder / "train.parquet")
    return str(folder / "train.parquet")


def test_the_small_study_is_complete():
    small = spec()
    small.check()
    members = small.members()
    assert len(members) == len(set(map(str, members))) == 9 * 2 * (2 + 1)
    assert len({small.task(m).folder for m in members}) == len(members)
    assert any("36 to train, 18 optimal denoisers; 0 are done" in line for line in small.plan())


def test_the_papers_study_is_planned(tmp_path):
    """The source has room for one set of 32,768 only."""
    large = spec(
        f"source.path={cifar10(tmp_path)}",
        f"drawing.descriptor=sscd:sscd_disc_large@{SHA256}",
        f"run.output={tmp_path}",
        "drawing.features=zoo:classifier",
        config="transition_cifar10",
    )
    large.check()
    assert large.left_out() == [(32768, 1)]
    lines = "\n".join(large.plan())
    assert "57 to train, 19 optimal denoisers" in lines
    assert "width 256  235.86 M parameters" in lines
    biggest = large.data(Member(32768, 64, 0))
    assert set(large.data(Member(16384, 64, 0)).rows()) < set(biggest.rows())


def test_sets_of_two_parts_are_disjoint_and_widths_share_theirs():
    small = spec()
    sets = [set(small.data(Member(64, 16, part)).rows().tolist()) for part in (0, 1)]
    assert not sets[0] & sets[1]
    assert small.data(Member(64, 16, 0)) == small.data(Member(64, 32, 0)) == small.data(Member(64, None, 0))


def test_members_differ_in_their_seeds_and_do_not_depend_on_each_other():
    small, fewer = spec(), spec("counts=[4, 64]", "widths=[32]")
    seeds = {small.model(m).budget.seed for m in small.members()}
    assert len(seeds) == len(small.members())
    assert small.model(Member(64, 32, 1)) == fewer.model(Member(64, 32, 1))


def test_the_identity_is_that_of_the_study_not_of_the_run():
    assert spec().identity() == spec("run.output=elsewhere", "run.trials.actors=1").identity()
    assert spec().identity() != spec("budget.pictures=50000").identity()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("counts=[8, 4]", "expected different numbers, the smallest first"),
        ("widths=[]", "at least 1"),
        ("budget.steps=3", "not a setting"),
        ("network.kind=mlp", "unet"),
        ("drawing.noises=1", "greater than or equal to 2"),
    ],
)
def test_mistakes_are_refused_when_read(override, said):
    with pytest.raises(UserError, match=said):
        spec(override)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("counts=[4, 5000]", "counts: expected at most 4096, the pictures there are, found 5000"),
        ("widths=[16, 20]", "multiple of 8"),
        ("drawing.descriptor=sscd:nothing", "NAME one of"),
        ("drawing.descriptor=zoo:nothing", "the embedded models are"),
        ("source={kind: parquet, path: no.parquet}", "expected a Parquet file"),
    ],
)
def test_what_could_never_run_is_refused_before(override, said):
    with pytest.raises(ValueError, match=said):
        spec(override).check()
