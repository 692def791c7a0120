"""Each kind of array, named and shaped once.

Letters: b batch, h height, w width, c channels, k classes, d embedding dimension, t tokens.
"""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

Images: TypeAlias = UInt8[np.ndarray, "b h w 3"]
"""RGB pictures, 0 to 255."""

Latent: TypeAlias = Float[np.ndarray, "..."]
"""The seed latent of one row, unit variance, before the scheduler's initial scaling: c h w, or t d for packed models."""

Latents: TypeAlias = Float[Tensor, "b ..."]
"""A batch of latents inside the sampling loop."""

Logits: TypeAlias = Float[np.ndarray, "b k"]
Embeddings: TypeAlias = Float[np.ndarray, "b d"]
"""Unit-norm embeddings."""
