"""Batches of the image world, by step."""

from typing import Annotated, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from stages.models.zoo import scenes, world

Grammar: TypeAlias = Annotated[
    Literal["thing", "scene"],
    Field(
        exclude_if=lambda value: value == "thing",  # the settings of models without this field stay as they were
        description="What an index shows: one thing, or a scene whose caption says more.",
    ),
]


def indices(step: int, batch: int, images: int, start: int = 0) -> Int64[np.ndarray, " b"]:
    """Return the step's indices: consecutive, so each class and colour is equally frequent, around and around."""
    return start + (step * batch + np.arange(batch)) % images


def pictures(index: Int64[np.ndarray, " b"], grammar: Grammar = "thing") -> Float[Tensor, "b 3 64 64"]:
    """Return the renders of `index` in [0, 1]."""
    renders = scenes.render(index) if grammar == "scene" else world.render(index)
    return torch.from_numpy(renders).permute(0, 3, 1, 2).float().div(255).contiguous()
