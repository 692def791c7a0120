"""The features of pictures in a classifier, before its last layer: what FID compares."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from stages.arrays import Images
from stages.models.chunks import chunks
from stages.models.classifiers import load_classifier
from tuning.training.trial import placed

BATCH = 64


@torch.inference_mode()
def features(pictures: Images, model: str | None, device: str) -> Float32[np.ndarray, "n f"]:
    """Return the features of the pictures, none where no classifier is named."""
    if model is None:
        return np.empty((len(pictures), 0), np.float32)
    classifier = load_classifier(placed(model, device))
    network: Any = classifier.network
    if not hasattr(network, "forward_head"):
        raise ValueError(f"drawing.features: expected zoo:classifier or a classifier of timm, found {model}")
    parts = []
    for chunk, real in chunks(list(pictures), BATCH):
        x = classifier.preprocess(chunk).to(*classifier.placement)
        pooled = network.forward_head(network.forward_features(x), pre_logits=True)
        parts.append(pooled[:real].float().cpu().numpy())
    return np.concatenate(parts)
