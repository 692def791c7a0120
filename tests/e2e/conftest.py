"""Every command of these tests finds Ray running, started in another folder than its own."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def shared_ray(ray_cluster: None) -> None:
    """Start Ray."""
