"""Oracle: whether seed latents fail, how clearly, and which way they would fail more; counts the pictures it draws."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float64
from pydantic import Field

from stages.base import Spec
from stages.models.chunks import chunks
from stages.sampling.gradients import pictures
from tuning.sage.latent import LatentSearchSpec
from tuning.sage.region.sphere import SeedLatents
from tuning.sage.surrogate import Surrogate
from tuning.sage.targets import AnyTarget, Untargeted, position

if TYPE_CHECKING:
    from stages.models.generator import Stepwise


class Query(Spec):
    """What a latent is judged on. Latents that fail the same query fail alike."""

    prompt: str
    label: str = Field(min_length=1, description="The class that the prompt names; one of the label set.")
    target: AnyTarget = Untargeted()


class Oracle:
    """Members and judge, asked about the pictures of seed latents, rounded as they would be saved.

    A latent's answer depends on the latent and on `spec.batch` alone, not on the latents beside it. Of `spec` it reads
    sampler and batch, and gradient and loss where slopes are asked for.
    """

    def __init__(self, spec: LatentSearchSpec, generator: "Stepwise", surrogate: Surrogate) -> None:
        self.spec, self.generator, self.surrogate = spec, generator, surrogate
        self.evaluations = 0
        """Pictures drawn so far; one with its slope counts once."""
        generator.check(spec.sampler)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape [c h w] of a latent."""
        return self.generator.latent_shape(self.spec.sampler.size_px)

    def check(self, query: Query) -> None:
        """Refuse a query that cannot be judged or drawn; raises ValueError."""
        query.target.check(query.label, self.surrogate.labels)
        self.generator.check_prompt(query.prompt)

    def __call__(self, latents: SeedLatents, query: Query) -> Bool[np.ndarray, " n"]:
        """Return whether each latent fails; one whose picture is not finite does not. Raises as `check` does."""
        return self.margins(latents, query) > 0

    def margins(self, latents: SeedLatents, query: Query) -> Float64[np.ndarray, " n"]:
        """Return the smallest margin over members and judge, above 0 exactly for a failure; NaN as for `Surrogate`."""
        self.check(query)
        found = [self._margins(batch, query)[:real] for batch, real in chunks(list(latents), self.spec.batch)]
        self.evaluations += len(latents)
        return np.concatenate([np.empty(0), *found])

    def slopes(self, latents: SeedLatents, query: Query) -> tuple[SeedLatents, Float64[np.ndarray, " n"]]:
        """Return the gradient of the search's objective at each latent, and the margin of the same picture.

        Raises ValueError as `check` does, and for a sampler that the gradient cannot follow.
        """
        self.check(query)
        found = [
            [side[:real] for side in self._slopes(batch, query)]
            for batch, real in chunks(list(latents), self.spec.batch)
        ]
        self.evaluations += len(latents)
        gradients, margins = zip(*found, strict=True) if found else ((), ())
        return np.concatenate([np.empty_like(latents[:0]), *gradients]), np.concatenate([np.empty(0), *margins])

    def _margins(self, batch: list[np.ndarray], query: Query) -> np.ndarray:
        pixels = self.generator.draw(
            torch.from_numpy(np.stack(batch)), [query.prompt] * len(batch), self.spec.sampler, []
        )
        return self._judged(pixels.permute(0, 3, 1, 2), query)

    def _slopes(self, batch: list[np.ndarray], query: Query) -> tuple[np.ndarray, np.ndarray]:
        x = torch.from_numpy(np.stack(batch)).to(self.generator.device).requires_grad_()
        prompts, labels = [query.prompt] * len(batch), self.surrogate.labels
        with torch.enable_grad():
            pixels = pictures(self.generator, x, prompts, self.spec.sampler, self.spec.gradient).permute(0, 3, 1, 2)
            rows = self.surrogate.log_probabilities(pixels.clamp(0, 1)).unbind(1)
            objectives = [self.spec.loss(query.target, log_p, position(query.label, labels), labels) for log_p in rows]
            (gradient,) = torch.autograd.grad(torch.stack(objectives).sum(), x)
        return gradient.cpu().numpy(), self._judged(pixels.detach(), query)

    def _judged(self, pixels: torch.Tensor, query: Query) -> np.ndarray:
        rows = len(pixels)
        return self.surrogate.margins(pixels, [query.label] * rows, [query.target] * rows).amin(1).double().numpy()
