"""Named actors: the same bits as on one machine, whatever the number of parts, and whatever dies."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from pipelines.compute import Compute
from pipelines.config import UserError
from pipelines.shards import ShardedLookup, ShardedLookupSpec, Shards, hosted, hosted_index
from stages.base import objects
from stages.lookup import Lookup, LookupSpec
from stages.neighbours import Ivf
from tests.stages.neighbours.make import unit, write

SMALL = Compute(cpus=0.25)


class Total:
    """A number that is held, and answered as a part."""

    def __init__(self, number: int) -> None:
        if number < 0:
            raise ValueError(f"total: expected a number of at least 0, found {number}")
        self.number = number

    def partial(self, factor: int) -> "Total":
        return Total(self.number * factor)

    def merge(self, other: "Total") -> "Total":
        return Total(self.number + other.number)

    def die_once(self, folder: str) -> "Total":
        if not (mark := Path(folder) / f"died-{self.number}").exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    stored = np.concatenate([unit(400, 16), unit(40, 16)])  # some twice, so that ties cross shards
    return str(write(tmp_path_factory.mktemp("index"), stored.astype(np.float16), shard_rows=60).folder)


def rows() -> dict[str, np.ndarray]:
    vectors = [*unit(30, 16, "queries"), *unit(400, 16)[:10]]
    return {"embedding": objects([*vectors[:7], None, *vectors[7:]])}


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
class TestHosted:
    @pytest.mark.parametrize("parts", [1, 3])
    def test_a_sharded_lookup_gives_the_same_bits(self, folder: str, parts: int):
        spec = LookupSpec(index=folder, k=4, threads=1)
        here = Lookup(spec)(rows())
        with hosted_index(spec, parts, SMALL) as shards:
            there = ShardedLookup(ShardedLookupSpec(name=shards.name, count=shards.count, **dict(spec)))(rows())
        assert there["nearest"].tolist() == here["nearest"].tolist()
        assert there["nearest_score"].tolist() == here["nearest_score"].tolist()

    def test_parts_may_have_engines_of_their_own(self, folder: str):
        spec = LookupSpec(index=folder, engine=Ivf(lists=4, probes=4), threads=1)
        with hosted_index(spec, 2, SMALL) as shards:
            there = ShardedLookup(ShardedLookupSpec(name=shards.name, count=2, **dict(spec)))(rows())
        assert there["nearest"].tolist() == Lookup(LookupSpec(index=folder))(rows())["nearest"].tolist()

    def test_anything_with_a_merge_may_be_held(self):
        with hosted("total", Total, [(1,), (2,), (3,)], SMALL) as shards:
            assert [part.number for part in shards.ask("partial", 10)] == [10, 20, 30]
            assert shards.merged("partial", 10).number == 60
            assert Shards(shards.name, 2).merged("partial", 1).number == 3

    def test_a_part_that_dies_is_built_again(self, tmp_path: Path):
        with hosted("total", Total, [(1,), (2,)], SMALL) as shards:
            assert shards.merged("die_once", str(tmp_path)).number == 3
        assert len(list(tmp_path.iterdir())) == 2

    def test_a_part_that_cannot_be_built_is_one_sentence(self):
        with (
            pytest.raises(UserError, match=r"^total: total: expected a number of at least 0, found -1$"),
            hosted("total", Total, [(1,), (-1,)], SMALL),
        ):
            pass

    def test_afterwards_they_are_gone(self):
        with hosted("total", Total, [(1,)], SMALL) as shards:
            pass
        with pytest.raises(ValueError, match=shards.name):
            shards.ask("partial", 1)

    def test_refuses_what_a_lookup_refuses(self, folder: str):
        spec = LookupSpec(index=folder)
        with pytest.raises(ValueError, match="expected k of 1 to 440"):
            ShardedLookup(ShardedLookupSpec(name="x", count=1, index=folder, k=441))
        with hosted_index(spec, 2, SMALL) as shards:
            stage = ShardedLookup(ShardedLookupSpec(name=shards.name, count=2, index=folder))
            with pytest.raises(ValueError, match="a zero vector has no direction"):
                stage({"embedding": objects([np.zeros(16, np.float32)])})


def test_more_parts_than_shards_are_refused(folder: str):
    with (
        pytest.raises(UserError, match="expected 1 to 8 parts, the number of shards of"),
        hosted_index(LookupSpec(index=folder), 9),
    ):
        pass
