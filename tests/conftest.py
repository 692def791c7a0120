"""Settings for every test."""

import os
from collections.abc import Iterator

import hypothesis
import pytest

# Cores are shared with other work, and the same examples are tried on every machine.
hypothesis.settings.register_profile("shared", deadline=None, derandomize=True)
hypothesis.settings.load_profile("shared")

# Ray's tests need neither a token in the home folder nor its usage reports.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

CPUS = 4
"""What Ray is told that it has, on any machine: actors of a test mostly wait for each other."""


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One Ray for all tests; most of the time of a small command would be the start of its own."""
    import ray

    from pipelines import cluster
    from pipelines.compute import Compute
    from tuning.search import SearchRun, connect

    connect(SearchRun(trials=Compute(actors=CPUS)))
    cluster.quiet()
    yield
    ray.shutdown()
