"""What is known of training pictures: where they come from, how they look, which are copies of each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from pipelines.save import decode
from stages.neighbours import Index


@dataclass(frozen=True)
class TrainingSet:
    """The pictures of an index."""

    index: Index

    def of(self, items: Sequence[int]) -> pd.DataFrame:
        """Return path, row, label and hash of these items, in their order."""
        columns = ["item", "path", "row", "label", "hash"]
        frame: pd.DataFrame = self.index.items(list(items), columns).to_pandas()
        return frame

    def pictures(self, items: Sequence[int]) -> dict[int, np.ndarray]:
        """Return the small copies of these few pictures."""
        wanted = sorted(set(items))
        found = self.index.items(wanted, ["item", "image"]).to_pylist()
        return {row["item"]: decode(row["image"]["bytes"]) for row in found if row["image"]}

    @cached_property
    def copies(self) -> dict[str, int]:
        """Return how often each picture stands in the set, by its hash, for those that stand there more than once."""
        import pyarrow.compute as pc

        hashes = self.index.dataset().to_table(columns=["hash"])
        counts = hashes.group_by("hash").aggregate([("hash", "count")])
        several = counts.filter(pc.greater(counts["hash_count"], 1)).sort_by([("hash_count", "descending")])
        return dict(zip(several["hash"].to_pylist(), several["hash_count"].to_pylist(), strict=True))

    @property
    def extra(self) -> int:
        """Return how many pictures are exact copies of others."""
        return sum(self.copies.values()) - len(self.copies)


def source(path: str, row: int) -> str:
    """Return where a picture comes from, in a few letters."""
    short = path if len(path) <= 28 else "..." + path[-25:]
    return short if row < 0 else f"{short} {row}"
