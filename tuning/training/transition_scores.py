"""What the models of a transition study drew -> reproducibility, generalization, and what chance gives."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from typing_extensions import override

from stages.metrics import Estimate
from stages.metrics.frechet import frechet
from tuning.training.drawn import Drawn
from tuning.training.scores import Score, Scores
from tuning.training.transition import Member, TransitionSpec

WORDS = {
    "RP, widths": "reproducibility: two widths, one training set, the same noise",
    "RP, sets": "reproducibility: one width, disjoint training sets, the same noise",
    "RP, optimal": "a model and the optimal denoiser of its training set, the same noise",
    "floor": "two widths, one training set, independent noise: what chance gives",
    "GL": "generalization: the share that is not alike any training picture",
    "copies": "the share whose nearest training picture is 3 times nearer than the next, in pixels",
    "GL, unseen": "pictures of the source that are in no training set: what a perfect model would score as GL",
    "background": "training pictures that are alike another one",
}


class TransitionScores(Scores):
    """Every score of a transition study."""

    def __init__(self, spec: TransitionSpec) -> None:
        super().__init__(spec.drawing, spec.counts)
        self.spec = spec

    def fid(self, reference: np.ndarray) -> dict[Member, Estimate]:
        """Return the FID of every model to the features of the source."""
        return {m: frechet(self.drawn(self.spec.task(m)).features, reference) for m in self.spec.members()}

    @override
    def at(self, count: int) -> Iterator[Score]:
        widths, optimal = self.spec.widths, self.sets(count, None)
        for a, b in combinations(widths, 2):
            both = list(zip(self.sets(count, a), self.sets(count, b), strict=True))
            yield self.pairs("RP, widths", count, f"{a} and {b}", both)
            yield self.chance("floor", count, f"{a} and {b}", both)
        for width in widths:
            own = self.sets(count, width)
            if len(own) > 1:
                yield self.pairs("RP, sets", count, f"{width}", list(combinations(own, 2)))
            yield self.pairs("RP, optimal", count, f"{width}", list(zip(own, optimal, strict=True)))
        for model in (*widths, None):
            drawn, named = self.sets(count, model), f"{model or 'optimal'}"
            yield self.novel("GL", count, named, [d.nearest for d in drawn])
            yield self.copies(count, named, drawn)
        yield self.novel("GL, unseen", count, "source", [d.unseen for d in optimal], noises=False)
        yield self.share("background", count, "source", [d.background for d in optimal], noises=False)

    def sets(self, count: int, width: int | None) -> list[Drawn]:
        """Return what the models of one width drew, a training set each; None: the optimal denoisers."""
        parts = [part for part in range(self.spec.parts) if self.spec.fits(count, part)]
        return [self.drawn(self.spec.task(Member(count, width, part))) for part in parts]
