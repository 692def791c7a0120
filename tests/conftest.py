"""Settings for every test."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import hypothesis
import pytest

# Cores are shared with other work, and the same examples are tried on every machine.
hypothesis.settings.register_profile("shared", deadline=None, derandomize=True)
hypothesis.settings.load_profile("shared")

# Ray's tests need neither a token in the home folder nor its usage reports.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

# What the S3 server of tests takes for a key; here, since processes of Ray have it from the one that starts them.
os.environ |= {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_EC2_METADATA_DISABLED": "true"}

# Tests use a Ray of their own, whatever cluster the shell that starts them is set up for.
for name in ("RAY_ADDRESS", "SEEDQUAKE_NODES", "SEEDQUAKE_OUTPUT"):
    os.environ.pop(name, None)


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    """Give the port of one S3 server for all tests."""
    from tests import s3

    with s3.server() as port:
        yield port


@pytest.fixture
def disk_full() -> Callable[[int], AbstractContextManager[None]]:
    """Give a context in which no file can grow beyond so many bytes, as on a disk with no more room."""
    import resource

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


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
