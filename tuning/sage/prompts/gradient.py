"""ByGradient: candidates ranked by what the loss wants of a vector that stands where the next word will."""

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tuning.sage.prompts.found import Candidate, PromptRow, PromptSearchSpec
from tuning.sage.prompts.pictures import PromptPictures, Slope, Vectors
from tuning.sage.tokens.vectors import unit


class ByGradient:
    """The paper's [x] and [y]: vectors behind the prompt that climb by sign steps in a box.

    They start from the mean vector of the candidates, weighted by their probabilities. A word of several tokens counts
    as the mean of theirs. Ebrahimi et al. 2018 (arXiv:1712.06751) rank words to first order too; here at the last
    gradient taken.
    """

    def __init__(self, spec: PromptSearchSpec, pictures: PromptPictures) -> None:
        self.spec, self.pictures = spec, pictures
        self.vectors, self.verify = 1 + spec.future, spec.verify
        by = unit(pictures.space, spec.scale)
        self.step, self.box = spec.step * by, spec.box * by

    def __call__(self, rows: Sequence[PromptRow]) -> Iterator[None]:
        """Rank the candidates of each row, none where a slope is not finite; draws `iterations` pictures a seed."""
        words = [self.embeddings([word.text for word in row.candidates]) for row in rows]
        vectors = [self._start(row, known) for row, known in zip(rows, words, strict=True)]
        at, slopes = vectors, list[Slope]()
        for _ in range(self.spec.iterations):
            at, slopes = vectors, self.pictures.slopes([row.question for row in rows], vectors)
            vectors = [self._moved(x, slope.gradient) for x, slope in zip(at, slopes, strict=True)]
            for row in rows:
                row.found.gradient_pictures += len(row.found.attempt.seeds)
            yield
        for row, known, x, slope, found in zip(rows, words, at, slopes, vectors, strict=True):
            finite = math.isfinite(slope.objective) and bool(slope.gradient.isfinite().all())
            row.ranked = self._ranked(row, self._scores(known, x[0], slope.gradient[0], found[0])) if finite else []

    def embeddings(self, words: Sequence[str]) -> Float[Tensor, "words width"]:
        """Return the mean vector of the generator's tokens of each word."""
        table, tokens = self.pictures.space.table, self.pictures.space.tokens
        return torch.stack([table[tokens(word)].float().mean(0) for word in words]).cpu()

    def _start(self, row: PromptRow, words: Float[Tensor, "words width"]) -> Vectors:
        weights = torch.tensor([word.log_p for word in row.candidates]).softmax(0)
        mean = (weights[:, None] * words).sum(0).clamp(-self.box, self.box)
        return mean.expand(self.vectors, -1).clone()

    def _moved(self, vectors: Vectors, gradient: Vectors) -> Vectors:
        return (vectors + self.step * gradient.sign()).clamp(-self.box, self.box)

    def _scores(
        self,
        words: Float[Tensor, "words width"],
        at: Float[Tensor, " width"],
        gradient: Float[Tensor, " width"],
        found: Float[Tensor, " width"],
    ) -> list[float]:
        if self.spec.selection == "nearest":
            return (-(words - found).norm(dim=1)).tolist()
        return ((words - at) @ gradient).tolist()

    def _ranked(self, row: PromptRow, scores: Sequence[float]) -> list[Candidate]:
        pairs = zip(row.candidates, scores, strict=True)
        ranked = [Candidate(word.text, word.log_p, score) for word, score in pairs]
        return sorted(ranked, key=lambda candidate: -candidate.score)
