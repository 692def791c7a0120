"""One pipeline on two kinds of node, in a Ray of its own: `python -m tests.pipelines.two_kinds FOLDER`.

What happened is in FOLDER/found.json afterwards.
"""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np

from pipelines import cluster
from pipelines.columns import pack
from pipelines.compute import Compute, Kind
from pipelines.config import UserError
from pipelines.flow import numbered
from pipelines.pace import own_accelerator
from pipelines.pipeline import Pipeline, Step
from pipelines.run import RunSpec, execute
from pipelines.sweep import Swept
from stages.base import Spec, Stage, objects
from tests.faults.toys import PoisonSpec, Toys, uninterrupted

ROWS, BATCH = 96, 4
SECONDS = {"QUICK": 0.05, "SLOW": 0.25}
START_S = 120
"""No batch is drawn before every actor can draw one."""
KEEP = ("number", "error", "value", "where")


class Where(Stage[Spec]):
    """A number of each row, and the kind of node that made it, which takes its time."""

    reads: ClassVar = ("number",)
    writes: ClassVar = ("value", "where")

    def transform(self, batch):
        time.sleep(SECONDS[name := own_accelerator()])
        place = float(sorted(SECONDS).index(name))
        return {"value": batch["number"] * 0.5, "where": np.full(len(batch["number"]), place)}


@contextmanager
def two_kinds() -> Iterator[str]:
    """Start a Ray of a head without CPUs and a node of each kind, with a CPU and a logical GPU; give its address."""
    import ray.data
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for name in SECONDS:
            started.add_node(num_cpus=1, num_gpus=1, resources={f"accelerator_type:{name}": 1})
        ray.init(address=started.address, log_to_driver=False, logging_level=logging.ERROR)
        cluster.quiet()
        ray.data.DataContext.get_current().wait_for_min_actors_s = START_S
        yield started.address
    finally:
        ray.shutdown()
        started.shutdown()


def drawn(*names: str) -> dict[str, object]:
    """Draw with one actor on each of these kinds; return the value of each row, and how many rows each kind drew."""
    compute = Compute(gpus=1, kinds=tuple(Kind(accelerator=name) for name in names))
    pipeline, run = Pipeline("where", Step(Where, Spec(), compute), keep=KEEP), RunSpec(batch_size=BATCH)
    cluster.connect(run, [pipeline])
    found: list[tuple[float, ...]] = []
    rows = numbered(ROWS, lambda n: pack({"number": n, "error": objects([None] * len(n))}), BATCH)
    tally = execute(
        pipeline, rows, ROWS, run, lambda _: None, lambda b: found.extend(zip(*map(b.get, KEEP), strict=True))
    )
    assert len({number for number, *_ in found}) == len(found), "a row came twice"
    where = [sorted(SECONDS)[int(place)] for *_, place in found]
    return {
        "values": sorted((int(number), float(value)) for number, _, value, _ in found),
        "rows": {name: where.count(name) for name in SECONDS},
        "rates": {place: rate for (_, place), rate in tally.pace.rates.items()},
    }


def fitted(folder: Path, layout: str) -> list[list[str]]:
    """Sweep with as many actors as fit, and return the kinds of node on which those of each pool worked."""
    settings = {"generate": {"gpus": 1}, "measure": {"cpus": 0.5}, "batch_size": 4, "layout": layout, "pools": "fitted"}
    question = Toys(RunSpec.model_validate(settings | {"output": str(folder / layout)}), 64, PoisonSpec(batch_s=0.1))
    cluster.connect(question.spec.run, [question.draw.generation])
    swept: Swept = question.sweep()
    assert question.rows() == uninterrupted(64)
    return [list(place) for place in sorted(swept.paces[0].rows)]


def refused() -> str:
    """Return what is said of a kind that no node is."""
    try:
        drawn("QUICK", "QUICKER")
    except UserError as error:
        return str(error)
    return ""


def planned(folder: Path, address: str) -> str:
    """Return the plan that joins this Ray for a moment."""
    words = [
        str(Path(sys.executable).parent / "seedquake"),
        "plan",
        "robustness_demo",
        "run.generate={gpus: 1}",
        f"run.output={folder}",
    ]
    environment = os.environ | {"RAY_ADDRESS": address}
    return subprocess.run(words, check=True, env=environment, capture_output=True, text=True).stdout


if __name__ == "__main__":
    place = Path(sys.argv[1])
    with two_kinds() as started:
        found = {
            "one": drawn("QUICK"),
            "two": drawn("QUICK", "SLOW"),
            "fitted": {layout: fitted(place, layout) for layout in ("fused", "staged")},
            "refused": refused(),
            "plan": planned(place, started),
        }
    (place / "found.json").write_text(json.dumps(found))
