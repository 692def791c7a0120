from pathlib import Path

import pytest
import torch

from tests import s3


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The models are too small for two threads to gain anything."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where trials keep what they leave: a folder, or a bucket on S3."""
    if request.param == "disk":
        return str(tmp_path / "kept")
    port = request.getfixturevalue("s3_port")
    return s3.uri(s3.bucket(port), port)
