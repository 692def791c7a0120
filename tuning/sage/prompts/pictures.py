"""PromptPictures: what the pictures of a prompt show on given seeds, and how vectors behind it change that."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Tensor

from stages.base import Spec
from stages.metrics import Estimate, Proportion
from stages.models.chunks import chunks
from stages.sampling.gradients import Full, Residual, pictures
from stages.sampling.prompts import Extended
from stages.sampling.spec import SamplerSpec
from tuning.sage.edges import Pictures
from tuning.sage.latent import seed_latent
from tuning.sage.surrogate import Surrogate
from tuning.sage.targets import AnyLoss, AnyTarget, MarginLoss, Untargeted, position

if TYPE_CHECKING:
    from stages.models.generator import Stepwise

Vectors: TypeAlias = Float[Tensor, "n width"]
PromptGradient: TypeAlias = Annotated[Full | Residual, Field(discriminator="kind")]
"""The estimators whose gradient reaches a prompt."""


class PromptAttempt(Spec):
    """One question: about which class, on which seeds, and what is to be seen instead."""

    label: str = Field(min_length=1, description="The class that the prompt names; one of the label set.")
    seeds: tuple[int, ...] = Field(min_length=1, description="Of the latents, over which the loss is averaged.")
    target: AnyTarget = Untargeted()

    @field_validator("seeds")
    @classmethod
    def _differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len({*seeds}) < len(seeds):
            raise ValueError(f"expected distinct seeds, found {', '.join(map(str, seeds))}")
        return seeds


class PicturesSpec(Spec):
    """How the pictures of prompts are drawn, and what is measured in them."""

    sampler: SamplerSpec = SamplerSpec(scheduler="ddim", steps=20)
    gradient: PromptGradient = Full()
    loss: AnyLoss = MarginLoss()
    batch: int = Field(8, gt=0, le=4096, description="Rows per forward pass; a smaller batch is padded to it.")


class Shown(NamedTuple):
    """A prompt, and what its pictures show: a number a seed."""

    prompt: str
    values: tuple[float, ...]
    """The loss, which a search maximises; NaN of a picture that is not finite."""
    fails: tuple[bool, ...]
    """Whether every member and the judge see the target."""

    @property
    def objective(self) -> float:
        """The mean loss."""
        return float(np.mean(self.values))

    @property
    def share(self) -> float:
        """The share of seeds that fail, 0 to 1."""
        return float(np.mean(self.fails))


class Slope(NamedTuple):
    """The mean loss over the seeds with vectors behind the prompt, and its gradient in them."""

    objective: float
    gradient: Vectors


class _Row(NamedTuple):
    number: int  # of the question
    attempt: PromptAttempt
    prompt: str
    seed: int


class PromptPictures:
    """One generator and one ensemble. Questions share batches; an answer depends on its question and on `batch` alone.

    Raises ValueError for a sampler that the gradient cannot follow, and for a model whose prompts take no vectors.
    """

    def __init__(self, spec: PicturesSpec, generator: "Stepwise", surrogate: Surrogate) -> None:
        self.spec, self.generator, self.surrogate = spec, generator, surrogate
        self.space = generator.token_space()
        generator.check(spec.sampler)
        spec.gradient.cost(spec.sampler.steps)  # refuses what it cannot differentiate

    @torch.no_grad()
    def see(self, asked: Sequence[tuple[PromptAttempt, str]]) -> list[Shown]:
        """Return what the pictures of each prompt show; draws one a seed."""
        values: list[list[float]] = [[] for _ in asked]
        fails: list[list[bool]] = [[] for _ in asked]
        for padded, real in chunks(_rows(asked), self.spec.batch):
            x, prompts = self._latents(padded), [row.prompt for row in padded]
            pixels = self.generator.draw(x, prompts, self.spec.sampler, []).permute(0, 3, 1, 2)
            labels, targets = [row.attempt.label for row in padded], [row.attempt.target for row in padded]
            verdicts = self.surrogate.fails(pixels, labels, targets).tolist()
            answers = zip(padded, self._losses(pixels, padded).tolist(), verdicts, strict=True)
            for row, value, fail in list(answers)[:real]:
                values[row.number].append(value)
                fails[row.number].append(fail)
        return [
            Shown(prompt, tuple(value), tuple(fail))
            for (_, prompt), value, fail in zip(asked, values, fails, strict=True)
        ]

    def slopes(self, asked: Sequence[tuple[PromptAttempt, str]], vectors: Sequence[Vectors]) -> list[Slope]:
        """Return the gradient in the vectors behind each prompt; draws one picture a seed.

        Raises ValueError for a prompt behind which they do not fit.
        """
        values: list[list[Tensor]] = [[] for _ in asked]
        gradients: list[list[Tensor]] = [[] for _ in asked]
        for padded, real in chunks(_rows(asked), self.spec.batch):
            found = zip(padded, *self._differentiated(padded, vectors), strict=True)
            for row, value, gradient in list(found)[:real]:
                values[row.number].append(value)
                gradients[row.number].append(gradient)
        return [
            Slope(float(torch.stack(value).mean()), torch.stack(gradient).mean(0))
            for value, gradient in zip(values, gradients, strict=True)
        ]

    def _differentiated(
        self, rows: Sequence[_Row], vectors: Sequence[Vectors]
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, "b n width"]]:
        texts, spec = [row.prompt for row in rows], self.spec
        behind = torch.stack([vectors[row.number] for row in rows]).to(self.generator.device).requires_grad_()
        with torch.enable_grad():
            prompts = Extended(texts, behind)
            pixels = pictures(self.generator, self._latents(rows), prompts, spec.sampler, spec.gradient)
            losses = self._losses(pixels.permute(0, 3, 1, 2), rows)
            (gradient,) = torch.autograd.grad(losses.sum(), behind)
        return losses.detach().cpu(), gradient.cpu()

    def _latents(self, rows: Sequence[_Row]) -> Float[Tensor, "b c h w"]:
        latents = [seed_latent(self.generator, self.spec.sampler, row.seed) for row in rows]
        return torch.from_numpy(np.stack(latents))

    def _losses(self, pixels: Pictures, rows: Sequence[_Row]) -> Float[Tensor, " b"]:
        log_p, labels = self.surrogate.log_probabilities(pixels.clamp(0, 1)), self.surrogate.labels
        losses = [
            self.spec.loss(row.attempt.target, log_p[:, number], position(row.attempt.label, labels), labels)
            for number, row in enumerate(rows)
        ]
        return torch.stack(losses)

    def failure_rate(self, attempt: PromptAttempt, prompt: str) -> Estimate:
        """Return the share of the attempt's seeds on which the prompt fails, with Wilson's interval.

        Of the plain prompt it is the natural failure rate; of one that a search has found, ask it on fresh seeds.
        """
        (shown,) = self.see([(attempt, prompt)])
        outcomes = np.where(np.isnan(shown.values), np.nan, np.array(shown.fails, np.float64))
        return Proportion().of(outcomes)


def _rows(asked: Sequence[tuple[PromptAttempt, str]]) -> list[_Row]:
    pairs = enumerate(asked)
    return [_Row(number, attempt, prompt, seed) for number, (attempt, prompt) in pairs for seed in attempt.seeds]
