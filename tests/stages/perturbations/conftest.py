import numpy as np
import pytest

from stages.arrays import Latent
from stages.randomness import rng


@pytest.fixture
def latent() -> Latent:
    """A small latent with a -0.0, which `x + 0.0` would not keep."""
    x = rng(0, "latent").standard_normal((4, 12, 16), dtype=np.float32)
    x[0, 0, 0] = -0.0
    return x


@pytest.fixture
def large() -> Latent:
    """A latent of the size of Stable Diffusion 1.x."""
    return rng(0, "latent").standard_normal((4, 64, 64), dtype=np.float32)
