"""Fixed batches: the shape of a forward pass never depends on how many rows came together."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

R = TypeVar("R")


def chunks(rows: Sequence[R], size: int) -> Iterator[tuple[list[R], int]]:
    """Yield `size` rows at a time, the last ones padded by repeating the first of them, and how many are real.

    The order in which a layer adds floats depends on the shape of its batch, so equal shapes make a row's result
    independent of its company.
    """
    for start in range(0, len(rows), size):
        chunk = list(rows[start : start + size])
        yield chunk + chunk[:1] * (size - len(chunk)), len(chunk)
