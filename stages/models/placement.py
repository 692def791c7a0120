"""Where a model runs: decided in the actor, never on the driver."""

from typing import NamedTuple

import torch
from torch import nn

from stages.models.spec import ModelSpec


class Placement(NamedTuple):
    """The device and the number format of one loaded model."""

    device: torch.device
    dtype: torch.dtype


def place(spec: ModelSpec, half: torch.dtype = torch.float32) -> Placement:
    """Return where `spec` runs on this machine, and set the actor's CPU threads.

    dtype "auto" is float32 on a CPU and `half` on a GPU.
    """
    if spec.device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"{type(spec).__name__}: device 'cuda' is asked for, but this machine has no CUDA device; "
            "give the step a GPU or set device=cpu"
        )
    if spec.threads is not None:
        torch.set_num_threads(spec.threads)
    name = "cpu" if spec.device == "cpu" or not torch.cuda.is_available() else "cuda"
    automatic = half if name == "cuda" else torch.float32
    return Placement(torch.device(name), automatic if spec.dtype == "auto" else getattr(torch, spec.dtype))


def settle(network: nn.Module, placement: Placement) -> None:
    """Move a network of convolutions to its placement, on a CPU in the layout in which they take the least time."""
    network.to(placement.device, placement.dtype)
    if placement.device.type == "cpu":
        channels_last(network)


def channels_last(network: nn.Module) -> None:
    """Lay the weights of two-dimensional convolutions out with channels last; a network of video stays as it is."""
    if all(weight.dim() < 5 for weight in network.parameters()):
        network.to(memory_format=torch.channels_last)
