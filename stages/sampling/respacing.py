"""Respacing: which of a model's training steps sampling visits."""

from collections.abc import Sequence
from itertools import pairwise


def sections(trained: int, counts: Sequence[int]) -> list[int]:
    """Return the steps, last first, that visit `counts[i]` of the i-th of as many equal parts of the training steps.

    Each part is visited from its first step to its last: Nichol & Dhariwal 2021 (arXiv:2102.09672), section 4. One
    part of n is what diffusers calls the spacing `linspace`.
    """
    size, longer = divmod(trained, len(counts))
    edges = [part * size + min(part, longer) for part in range(len(counts) + 1)]
    steps: list[int] = []
    for count, (start, end) in zip(counts, pairwise(edges), strict=True):
        if count > end - start:
            raise ValueError(f"respacing: a part of {end - start} training steps cannot be visited in {count} steps")
        stride = (end - start - 1) / max(count - 1, 1)
        steps += [start + round(number * stride) for number in range(count)]
    return steps[::-1]


def fast27(trained: int) -> list[int]:
    """Return GLIDE's 27 steps for its upsampler, last first: dense where noise is low, the noisiest two steps earlier.

    Nichol et al. 2021 (arXiv:2112.10741); the counts are those of its code.
    """
    steps = sections(trained, (10, 10, 3, 2, 2))
    return [trained - 3, *steps[1:]]
