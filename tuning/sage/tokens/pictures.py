"""TokenPictures: what pictures show with vectors behind their prompts, and how well they still fit these."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from stages.models.chunks import chunks
from stages.sampling.gradients import Full, pictures
from stages.sampling.prompts import Embeddings, Extended
from stages.tensors import Pixels
from tuning.sage.latent import seed_latent
from tuning.sage.prompts.pictures import PicturesSpec, PromptAttempt, PromptPictures, Slope, Vectors
from tuning.sage.surrogate import Surrogate
from tuning.sage.targets import AnyTarget, position
from tuning.sage.tokens.found import Shot

if TYPE_CHECKING:
    from stages.models.clip import Clip
    from stages.models.generator import Stepwise

Numbers: TypeAlias = Float64[np.ndarray, " n"]


class Seen(NamedTuple):
    """What some pictures show, a number a picture; NaN where one is not finite."""

    losses: Numbers
    """What a search maximises."""
    fails: Numbers
    """1 where every member and the judge see the target, else 0."""
    clip: Numbers
    """CLIP score, 0 to 100, of the picture and the text of its prompt alone; NaN without a CLIP."""

    def rows(self, chosen: np.ndarray) -> "Seen":
        """Return what some of the pictures show."""
        return Seen(*(column[chosen] for column in self))


class Asked(NamedTuple):
    """One vector behind the prompts of some pictures, and what is to be seen in them."""

    target: AnyTarget
    shots: Sequence[Shot]
    vector: Vectors


class TokenPictures:
    """One generator, one ensemble, and a CLIP or none. A picture's answer depends on it and on `batch` alone.

    Raises ValueError for a sampler that the gradient cannot follow, and for a model whose prompts take no vectors.
    """

    def __init__(
        self, spec: PicturesSpec, generator: "Stepwise", surrogate: Surrogate, clip: "Clip | None" = None
    ) -> None:
        self.spec, self.generator, self.surrogate, self.clip = spec, generator, surrogate, clip
        self.prompts = PromptPictures(spec, generator, surrogate)
        self.space = self.prompts.space

    def slopes(self, asked: Sequence[Asked]) -> list[Slope]:
        """Return the mean loss of each one's pictures, and its gradient in the vector; draws each picture once."""
        flat = [(shot, one) for one in asked for shot in one.shots]
        questions = [
            (PromptAttempt(label=shot.prompt.label, seeds=(shot.seed,), target=one.target), shot.prompt.text)
            for shot, one in flat
        ]
        found = iter(self.prompts.slopes(questions, [one.vector for _, one in flat]))
        return [_mean([next(found) for _ in one.shots]) for one in asked]

    @torch.no_grad()
    def see(self, target: AnyTarget, shots: Sequence[Shot], behind: Embeddings | None = None) -> Seen:
        """Return what the pictures of `shots` show, with vectors [b n width] behind their prompts, or none."""
        found = []
        for rows, real in chunks(range(len(shots)), self.spec.batch):
            some = [shots[row] for row in rows]
            pixels = self.draw(some, None if behind is None else behind[rows])
            found.append(self._judged(target, some, pixels).rows(np.arange(real)))
        return Seen(*(np.concatenate(column) for column in zip(*found, strict=True)))

    @torch.no_grad()
    def draw(self, shots: Sequence[Shot], behind: Embeddings | None = None) -> Pixels:
        """Return pictures in [0, 1], not yet clipped; without vectors they are those of the plain prompts."""
        sampler = self.spec.sampler
        latents = torch.from_numpy(np.stack([seed_latent(self.generator, sampler, shot.seed) for shot in shots]))
        texts = [shot.prompt.text for shot in shots]
        if behind is None:
            return self.generator.draw(latents, texts, sampler, [])
        return pictures(self.generator, latents, Extended(texts, behind.to(self.generator.device)), sampler, Full())

    def _judged(self, target: AnyTarget, shots: Sequence[Shot], pixels: Pixels) -> Seen:
        upright, labels = pixels.permute(0, 3, 1, 2), [shot.prompt.label for shot in shots]
        log_p, known = self.surrogate.log_probabilities(upright.clamp(0, 1)), self.surrogate.labels
        losses = [
            self.spec.loss(target, log_p[:, row], position(label, known), known) for row, label in enumerate(labels)
        ]
        margins = self.surrogate.margins(upright, labels, [target] * len(labels))
        finite = margins.isfinite().all(1)
        fails = (margins > 0).all(1).double()
        columns = (torch.stack(losses).cpu(), fails, self._clip_scores(shots, pixels))
        return Seen(*(column.double().where(finite, torch.nan).numpy() for column in columns))

    def _clip_scores(self, shots: Sequence[Shot], pixels: Pixels) -> Float[Tensor, " b"]:
        if self.clip is None:
            return torch.full((len(shots),), torch.nan)
        from stages.models.generator import to_pictures

        drawn = [picture for picture in to_pictures(pixels.nan_to_num()) if picture is not None]
        return 100 * self.clip.cosine(drawn, [shot.prompt.text for shot in shots]).clamp(min=0)


def _mean(slopes: Sequence[Slope]) -> Slope:
    gradient = torch.stack([slope.gradient for slope in slopes]).mean(0)
    return Slope(float(np.mean([slope.objective for slope in slopes])), gradient)
