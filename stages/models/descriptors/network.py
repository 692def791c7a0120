"""NetworkDescriptor: a network's unit-norm vectors, in batches of a fixed shape."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchvision import transforms  # type: ignore[import-untyped]
from typing_extensions import override

from stages.models.chunks import chunks
from stages.models.descriptors.base import AnyPicture, Descriptor, red_green_blue
from stages.models.descriptors.spec import Metric, Sizing
from stages.models.placement import Placement
from stages.models.preprocess import Picture, Preprocess


class NetworkDescriptor(Descriptor):
    """A network's vectors at unit norm. Pictures are resized by Pillow's bilinear filter, as torchvision does it."""

    metric: Metric = "cosine"

    def __init__(self, name: str, network: nn.Module, preprocess: Preprocess, dimension: int) -> None:
        self.name, self.network, self.preprocess, self.dimension = name, network.eval(), preprocess, dimension
        self.placement, self.batch = Placement(torch.device("cpu"), torch.float32), 32

    def to(self, placement: Placement, batch: int) -> "NetworkDescriptor":
        """Move the weights to `placement`, and take `batch` pictures a forward pass."""
        self.placement, self.batch = placement, batch
        self.network.to(placement.device, placement.dtype)
        return self

    @override
    def embed(self, pictures: Sequence[AnyPicture]) -> Float32[np.ndarray, "n d"]:
        found = np.empty((len(pictures), self.dimension), np.float32)
        for rows in _by_size(pictures).values():
            for chunk, real in chunks(rows, self.batch):
                vectors = self._forward([red_green_blue(pictures[row]) for row in chunk])
                found[chunk[:real]] = vectors[:real].numpy()
        return found

    @torch.inference_mode()
    def _forward(self, pictures: list[Picture]) -> Float32[Tensor, "b d"]:
        vectors: Tensor = self.network(self.preprocess(pictures).to(*self.placement))
        if vectors.shape[1:] != (self.dimension,):
            raise ValueError(
                f"{self.name} should give {self.dimension} numbers a picture, but gave {tuple(vectors.shape[1:])}"
            )
        return normalize(vectors.float(), dim=1).cpu()


def preprocess(size: Sizing, mean: Sequence[float], std: Sequence[float]) -> Preprocess:
    """Return torchvision's transform: resize to a size, scale to [0, 1], normalise."""
    target = size.height if size.width is None else tuple(size)
    steps = [transforms.Resize(target), transforms.ToTensor(), transforms.Normalize(mean, std)]
    unchanged = (size.height, size.width or size.height)  # a square of the short side stays as it is
    return Preprocess(transforms.Compose(steps), unchanged, mean, std)


def _by_size(pictures: Sequence[AnyPicture]) -> dict[tuple[int, ...], list[int]]:
    """Return the rows of each size: pictures of one size share batches, whatever else they come with."""
    rows: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row, picture in enumerate(pictures):
        rows[picture.shape[:2]].append(row)
    return rows
