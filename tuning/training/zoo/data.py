"""Batches of the image world, by step."""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from stages.models.zoo import world


def indices(step: int, batch: int, images: int, start: int = 0) -> Int64[np.ndarray, " b"]:
    """Return the step's indices: consecutive, so each class and colour is equally frequent, around and around."""
    return start + (step * batch + np.arange(batch)) % images


def pictures(index: Int64[np.ndarray, " b"]) -> Float[Tensor, "b 3 64 64"]:
    """Return the renders of `index` in [0, 1]."""
    return torch.from_numpy(world.render(index)).permute(0, 3, 1, 2).float().div(255).contiguous()
