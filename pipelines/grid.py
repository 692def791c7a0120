"""Prompts x seeds x perturbations x samplers as numbered rows, expanded only where they are worked on."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pydantic import Field

from pipelines.prompts import Prompt
from stages.base import Batch, Spec, digest, objects

SEED_BITS = 40
MAX_PROMPTS = 2 ** (63 - SEED_BITS)


class Seeds(Spec):
    """Which seeds each prompt gets."""

    first: int = Field(0, ge=0, le=2**40, description="Number of the first seed.")
    count: int = Field(gt=0, le=10**9, description="Seeds per prompt.")
    shared: bool = Field(
        False,
        description="True: every prompt gets the seeds first, first + 1, ...; their outcomes are then correlated. "
        "False: each prompt gets its own, so that rows are independent.",
    )

    def of(self, prompt: str, number: int) -> int:
        """Return the seed of the `number`-th sample of a prompt.

        Own seeds are 40-bit hashes of prompt and number: adding prompts or seeds leaves all others as they were.
        """
        if self.shared:
            return number
        key = hashlib.blake2b(f"{prompt}\x1f{number}".encode(), digest_size=SEED_BITS // 8).digest()
        return int.from_bytes(key, "little")

    def blocks(self, size: int) -> Iterator["Seeds"]:
        """Yield the same seeds in blocks of `size`."""
        for start in range(0, self.count, size):
            yield self.model_copy(update={"first": self.first + start, "count": min(size, self.count - start)})


@dataclass(frozen=True)
class Grid:
    """Rows by number: seeds outermost, then samplers, perturbations, prompts.

    A stopped run has therefore seen every prompt and perturbation equally often. Perturbations and samplers are
    canonical JSON.
    """

    model: str
    revision: str
    prompts: tuple[Prompt, ...]
    seeds: Seeds
    perturbations: tuple[str, ...]
    samplers: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.prompts) > MAX_PROMPTS:
            raise ValueError(f"prompts: expected at most {MAX_PROMPTS}, found {len(self.prompts)}; split the sweep")

    def __len__(self) -> int:
        return int(np.prod([self.seeds.count, *self.inner], dtype=object))

    @property
    def inner(self) -> tuple[int, int, int]:
        """Return how many samplers, perturbations and prompts there are."""
        return len(self.samplers), len(self.perturbations), len(self.prompts)

    def rows(self, numbers: np.ndarray) -> Batch:
        """Return the sample columns of the rows with these numbers."""
        block, sampler, perturbation, prompt = np.unravel_index(numbers, (self.seeds.count, *self.inner))
        prompts = [self.prompts[i] for i in prompt]
        seeds = [self.seeds.of(p.text, self.seeds.first + int(n)) for p, n in zip(prompts, block, strict=True)]
        batch = {
            "prompt": objects([p.text for p in prompts]),
            "label": np.array([p.label for p in prompts], dtype=np.int64),
            "seed": np.array(seeds, dtype=np.int64),
            "perturbation": objects([self.perturbations[i] for i in perturbation]),
            "sampler": objects([self.samplers[i] for i in sampler]),
            "model": objects([self.model] * len(prompts)),
            "revision": objects([self.revision] * len(prompts)),
            "error": objects([None] * len(prompts)),
        }
        return {"number": np.asarray(numbers, dtype=np.int64), "sample_id": sample_ids(batch)} | batch

    def numbers(
        self, prompt: Sequence[str], seed: np.ndarray, perturbation: Sequence[str], sampler: Sequence[str]
    ) -> np.ndarray:
        """Return the row number of each sample of this model and revision, -1 where it is not in the grid.

        The inverse of `rows`: it turns the store's rows into a bitmap of what is done, 12.5 MB for 10^8 rows.
        """
        where = [positions(p.text for p in self.prompts), positions(self.samplers), positions(self.perturbations)]
        prompt_i, sampler_i, perturbation_i = (
            np.array([table.get(text, -1) for text in column], dtype=np.int64)
            for table, column in zip(where, (prompt, sampler, perturbation), strict=True)
        )
        block = self._block(prompt_i, np.asarray(seed, dtype=np.int64))
        known = (prompt_i >= 0) & (sampler_i >= 0) & (perturbation_i >= 0) & (block >= 0)
        parts = [np.where(known, part, 0) for part in (block, sampler_i, perturbation_i, prompt_i)]
        return np.where(known, np.ravel_multi_index(parts, (self.seeds.count, *self.inner)), -1)

    def _block(self, prompt: np.ndarray, seed: np.ndarray) -> np.ndarray:
        """Return the position of each seed among its prompt's seeds, -1 where it is not one."""
        if self.seeds.shared:
            block = seed - self.seeds.first
            return np.where((block >= 0) & (block < self.seeds.count), block, -1)
        keys, blocks = self._own_seeds
        key = (prompt << SEED_BITS) | seed
        at = np.clip(np.searchsorted(keys, key), 0, len(keys) - 1)
        return np.where((keys[at] == key) & (seed >= 0) & (seed < 2**SEED_BITS), blocks[at], -1)

    @cached_property
    def _own_seeds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the sorted keys (prompt, seed) and the position that each stands for."""
        count, first = self.seeds.count, self.seeds.first
        keys = np.fromiter(
            (
                (i << SEED_BITS) | self.seeds.of(p.text, first + n)
                for i, p in enumerate(self.prompts)
                for n in range(count)
            ),
            dtype=np.int64,
            count=len(self.prompts) * count,
        )
        order = np.argsort(keys, kind="stable")
        return keys[order], np.tile(np.arange(count), len(self.prompts))[order]


def sample_ids(batch: Batch) -> np.ndarray:
    """Return the 32-digit id of each row: BLAKE2 of everything that determines its image, and of nothing else."""
    names = ("model", "revision", "prompt", "seed", "perturbation", "sampler")
    columns = [batch[name].tolist() for name in names]
    return objects(digest(dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True))


def positions(items: Iterator[str] | Sequence[str]) -> dict[str, int]:
    """Return the position of each item."""
    return {item: i for i, item in enumerate(items)}
