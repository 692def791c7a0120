"""Failures made up: noise for pictures, and what a search would have written beside them."""

import numpy as np
import yaml

from stages.randomness import rng
from stages.sampling import SamplerSpec
from tuning.sage.failures import Failure, Saved, save, sha256

CLASSES = ("star", "fish", "moon", "ring")
SEEN = {"member 1": "fish 0.91", "member 2": "fish 0.80", "judge": "fish 0.98"}
PLAIN = "a photo of a star"


def picture(*purpose):
    return rng(0, "picture", *purpose).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def made(number=0, **changes) -> Saved:
    """A latent search's failure; its pictures and its latent are those of its number."""
    plain = changes.get("search") == "seed"
    after = picture(number, "after")
    settings = {
        "search": "latent",
        "model": "zoo:none",
        "revision": "0" * 32,
        "prompt": PLAIN,
        "before": PLAIN,
        "label": "star",
        "seed": number,
        "sampler": SamplerSpec(scheduler="ddim", steps=2),
        "evaluations": 3,
        "objective": float(number),
        "measured": {"norm_z": 0.5, "ks_p": 0.25},
        "seen": SEEN,
        "sha256": sha256(after),
    }
    latent = rng(number, "latent").standard_normal((4, 2, 2)).astype(np.float32)
    return Saved(Failure(**settings | changes), latent, None, after if plain else picture(number, "before"), after)


def run_folder(folder, saved):
    """The folder of a run that has found these."""
    for one in saved:
        save(folder / "failures", one)
    (folder / "spec.yaml").write_text(yaml.safe_dump({"surrogate": {"labels": list(CLASSES)}}))
    return folder
