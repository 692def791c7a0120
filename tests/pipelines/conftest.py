"""What several tests of pipelines start from."""

from pathlib import Path

import pytest

from pipelines.store import Store
from tests import s3


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Give an empty store on each kind of storage."""
    if request.param == "disk":
        return Store(str(tmp_path / "s"))
    port = request.getfixturevalue("s3_port")
    return Store(s3.uri(s3.bucket(port), port))
