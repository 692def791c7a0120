"""The features of pictures in a classifier, before its last layer: what FID compares."""

import numpy as np
from jaxtyping import Float32

from stages.arrays import Images
from stages.features import Features, FeaturesSpec

BATCH = 64


def features(pictures: Images, model: str | None, device: str) -> Float32[np.ndarray, "n f"]:
    """Return the features of the pictures, none where no classifier is named."""
    if model is None:
        return np.empty((len(pictures), 0), np.float32)
    spec = FeaturesSpec.model_validate({"model": model, "device": device, "batch": BATCH, "dtype": "float32"})
    return Features(spec).vectors(list(pictures)).features
