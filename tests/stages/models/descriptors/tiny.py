"""Random weights in the real classes, at tiny size."""

import hashlib
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from stages.models.descriptors.gem import Gem, GemSpec, save_gem
from stages.randomness import rng


def save_descriptor(folder: Path, side: int = 32, dimension: int = 24) -> Path:
    """Write a random descriptor in the zoo's format."""
    spec = GemSpec(
        architecture="test_resnet",
        dimension=dimension,
        input_size=(3, side, side),
        mean=(0.5, 0.4, 0.3),
        std=(0.25, 0.2, 0.3),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_gem(Gem(spec), spec, folder)
    return folder


class Published(nn.Module):
    """A network with the interface of the published files: normalised pictures in, unit vectors out."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, dimension, 32, stride=32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self.convolution(x).mean(dim=(2, 3)))


def published_network(dimension: int = 512) -> Published:
    """Return the random network that `save_published` writes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Published(dimension).eval()


def save_published(path: Path, dimension: int = 512) -> str:
    """Write a random network as TorchScript and return the file's SHA-256."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.script(published_network(dimension)), path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pictures(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Random pictures of the given shapes."""
    return [rng(i, "picture").integers(0, 256, shape).astype(np.uint8) for i, shape in enumerate(shapes)]
