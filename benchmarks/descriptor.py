"""The scores of copies and of different pictures, drawn: python benchmarks/descriptor.py writes docs/images/descriptor.png."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from stages.models.zoo import card, path
from tuning.training.zoo.copies import SIDES_PX, Scores, measure_scores

FILE = Path(__file__).parent.parent / "docs" / "images" / "descriptor.png"
BINS = np.linspace(-0.5, 1, 76)


def draw(axis: plt.Axes, found: Scores, side_px: int) -> None:
    kinds = {
        "copies": (found.own, "tab:blue"),
        "same object and colour": (found.alike, "tab:orange"),
        "other pictures": (found.other, "tab:gray"),
    }
    for name, (chosen, colour) in kinds.items():
        scores = found.pairs(chosen).scores
        axis.hist(scores, BINS, density=True, alpha=0.6, color=colour, label=f"{name} (n={len(scores):,})")
    limits = {f.name: f.value for f in card("descriptor").figures}
    (score,) = [
        v for name, v in limits.items() if name.startswith("score at 90 %") and name.endswith(f", {side_px} px")
    ]
    axis.axvline(score, color="black", linewidth=1, label=f"90 % precision at {score:.2f}")
    axis.set_title(f"pictures of {side_px} px", fontsize=9)
    axis.legend(fontsize=6, loc="upper left")
    axis.tick_params(labelsize=7)


if __name__ == "__main__":
    figure, axes = plt.subplots(1, len(SIDES_PX), figsize=(10, 3), sharex=True, layout="constrained")
    for axis, side_px in zip(axes, SIDES_PX, strict=True):
        draw(axis, measure_scores(path("descriptor"), side_px), side_px)
    figure.supxlabel("cosine of the descriptors", fontsize=8)
    figure.supylabel("density", fontsize=8)
    figure.savefig(FILE, dpi=90)
