"""Controls: what the same number of pictures finds without a gradient, and how often plain seeds fail by themselves."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import numpy as np
import torch
from pydantic import Field
from typing_extensions import override

from stages.arrays import Latent
from stages.base import Spec
from stages.metrics import Estimate, Proportion
from stages.models.chunks import chunks
from stages.randomness import rng
from tuning.sage.latent import Attempt, LatentSearchSpec, check, seed_latent, within
from tuning.sage.surrogate import Surrogate

if TYPE_CHECKING:
    from stages.models.generator import Stepwise


class Draws(Spec):
    """Where a control's latents come from. Draw 0 is always the attempt's own seed, as it is for the search."""

    @abstractmethod
    def latent(self, start: Latent, attempt: Attempt, draw: int, spec: LatentSearchSpec) -> Latent:
        """Return draw `draw`, counted from 1, of the attempt, whose seed gives `start` [c h w]."""


class FreshSeeds(Draws):
    """Independent draws from N(0, I)."""

    kind: Literal["fresh_seeds"] = "fresh_seeds"

    @override
    def latent(self, start: Latent, attempt: Attempt, draw: int, spec: LatentSearchSpec) -> Latent:
        fresh: Latent = rng(attempt.seed, "fresh seed", attempt.restart, draw).standard_normal(
            start.shape, dtype=np.float32
        )
        return fresh


class RandomPerturbations(Draws):
    """Perturbations of the attempt's own seed, drawn evenly from the search's box, projected and shortened as there."""

    kind: Literal["random_perturbations"] = "random_perturbations"

    @override
    def latent(self, start: Latent, attempt: Attempt, draw: int, spec: LatentSearchSpec) -> Latent:
        random = rng(attempt.seed, "random perturbation", attempt.restart, draw)
        drawn = random.uniform(-spec.box, spec.box, start.shape)
        return within(start, drawn.astype(np.float32), spec)


AnyDraws: TypeAlias = Annotated[FreshSeeds | RandomPerturbations, Field(discriminator="kind")]


@dataclass
class Drawn:
    """What a control has found in one attempt's budget, all of which is spent."""

    attempt: Attempt
    evaluations: int
    failures: int = 0
    """Pictures that fail, whether their latents are valid or not; that of the attempt's own seed among them."""
    accepted: int = 0
    """Failures of valid latents; those of the attempt's own seed not counted."""
    natural: bool = False
    """Whether the attempt's own seed fails by itself."""


class RandomSearch:
    """The control of a search: the same attempts, number of pictures, verdicts and tests; no gradient."""

    def __init__(self, draws: Draws, spec: LatentSearchSpec, generator: "Stepwise", surrogate: Surrogate) -> None:
        self.draws, self.spec, self.generator, self.surrogate = draws, spec, generator, surrogate
        generator.check(spec.sampler)

    def __call__(self, attempts: Sequence[Attempt], evaluations: Sequence[int]) -> list[Drawn]:
        """Return what `evaluations` pictures of each attempt find, in the order of the attempts.

        Raises ValueError as a search does, and for a budget below one picture.
        """
        check(attempts, self.generator, self.surrogate)
        if min(evaluations, default=1) < 1:
            raise ValueError(f"random search: expected at least 1 evaluation an attempt, found {min(evaluations)}")
        drawn = [Drawn(attempt, budget) for attempt, budget in zip(attempts, evaluations, strict=True)]
        waiting = list(self._waiting(drawn))
        for start in range(0, len(waiting), self.spec.batch):
            self._judge(waiting[start : start + self.spec.batch])
        return drawn

    def _waiting(self, drawn: Sequence[Drawn]) -> Iterator[tuple[Drawn, int]]:
        for one in drawn:
            for number in range(one.evaluations):
                yield one, number

    def _latent(self, attempt: Attempt, number: int) -> Latent:
        start = seed_latent(self.generator, self.spec.sampler, attempt.seed)
        return self.draws.latent(start, attempt, number, self.spec) if number else start

    def _judge(self, waiting: Sequence[tuple[Drawn, int]]) -> None:
        latents = [self._latent(drawn.attempt, number) for drawn, number in waiting]
        fails = self._fail(latents, [drawn.attempt for drawn, _ in waiting])
        for (drawn, number), latent, fail in zip(waiting, latents, fails, strict=True):
            drawn.failures += int(fail)
            drawn.natural |= fail and number == 0
            drawn.accepted += int(fail and number > 0 and self.spec.validity.accepts(latent))

    def _fail(self, latents: Sequence[Latent], attempts: Sequence[Attempt]) -> list[bool]:
        """Return whether the picture of each row is a failure."""
        ((padded, real),) = chunks(list(zip(latents, attempts, strict=True)), self.spec.batch)
        x, rows = torch.from_numpy(np.stack([latent for latent, _ in padded])), [attempt for _, attempt in padded]
        pixels = self.generator.draw(x, [row.prompt for row in rows], self.spec.sampler, [])
        targets = [row.target for row in rows]
        fails = self.surrogate.fails(pixels.permute(0, 3, 1, 2), [row.label for row in rows], targets)
        return [bool(fail) for fail in fails[:real]]


def random_success_rate(drawn: Sequence[Drawn]) -> Estimate:
    """Return the share of attempts in whose budget an accepted failure fell, with Wilson's interval.

    As in `success_rate`, attempts whose own seed fails by itself are counted as missing.
    """
    outcomes = [np.nan if one.natural else float(one.accepted > 0) for one in drawn]
    return Proportion().of(np.array(outcomes, dtype=np.float64))


def natural_failure_rate(
    attempts: Sequence[Attempt], spec: LatentSearchSpec, generator: "Stepwise", surrogate: Surrogate
) -> Estimate:
    """Return the share of plain seeds that fail by themselves, one picture each, with Wilson's interval."""
    drawn = RandomSearch(FreshSeeds(), spec, generator, surrogate)(attempts, [1] * len(attempts))
    return Proportion().of(np.array([one.natural for one in drawn], dtype=np.float64))
