import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The models are too small for two threads to gain anything."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
