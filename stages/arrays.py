"""Each kind of array, named and shaped once.

Letters: b batch, h height, w width, c channels, k classes, d embedding dimension, t tokens.
"""

from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

Images: TypeAlias = UInt8[np.ndarray, "b h w 3"]
"""RGB pictures, 0 to 255."""

Latent: TypeAlias = Float32[np.ndarray, "c h w"]
"""The seed latent of one row, unit variance, before the scheduler's initial scaling and any packing into tokens."""

Logits: TypeAlias = Float[np.ndarray, "b k"]
Embeddings: TypeAlias = Float[np.ndarray, "b d"]
"""Unit-norm embeddings."""

Outcomes: TypeAlias = Float[np.ndarray, " n"] | Int[np.ndarray, " n"] | Bool[np.ndarray, " n"]
"""One measured number per row; NaN where the row has none."""

Clusters: TypeAlias = Int[np.ndarray, " n"]
"""The group of each row (its seed, its prompt): rows of one group are resampled together."""
