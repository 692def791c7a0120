"""The kinds of tensors, named once; apart from `arrays.py`, so that specs load without PyTorch."""

from typing import TypeAlias

from jaxtyping import Float, Num
from torch import Tensor

Latents: TypeAlias = Float[Tensor, "b c h w"]
"""A batch of latents inside the sampling loop."""

Output: TypeAlias = Float[Tensor, "b outputs h w"]
"""What a network answers: as many channels as the latents have, or twice as many where it learned its variance."""

Time: TypeAlias = Num[Tensor, ""]
"""A step's time, in the scheduler's own unit: an integer of its noise schedule, or a fraction of it."""

Pixels: TypeAlias = Float[Tensor, "b height width 3"]
"""Decoded pictures in [0, 1], not yet clipped; larger than the latents they come from."""
