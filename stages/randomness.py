"""The only source of random numbers: every draw is fixed by a seed and a purpose."""

import hashlib

import numpy as np


def rng(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return the generator of `(seed, purpose)`: Philox keyed by their BLAKE2 hash.

    Distinct purposes give independent streams, so drawing more for one never moves another.
    """
    text = "\x1f".join(map(str, (seed, *purpose)))
    key = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(key, dtype="<u8")))
