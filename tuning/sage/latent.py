"""LatentSearch: seed latents, still likely under N(0, I), whose pictures fail; many searches in one batch."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field

from stages.arrays import Latent
from stages.base import Spec
from stages.metrics import Estimate, Proportion
from stages.models.chunks import chunks
from stages.randomness import rng
from stages.sampling.gradients import AnyGradient, Residual, pictures
from stages.sampling.spec import SamplerSpec
from tuning.sage.surrogate import Surrogate
from tuning.sage.targets import AnyLoss, AnyTarget, MarginLoss, Untargeted
from tuning.sage.validity import LatentTests, Validity, latent_tests, project

if TYPE_CHECKING:
    from stages.models.generator import Stepwise


ROUNDS = 50
CLOSE = 1e-3
"""Share of the box by which an entry may lie outside it."""


class Attempt(Spec):
    """One search: where it starts, and what it is after."""

    seed: int = Field(description="Of the seed latent: the one that every question draws from this seed.")
    prompt: str
    label: str = Field(min_length=1, description="The class that the prompt names; one of the label set.")
    target: AnyTarget = Untargeted()
    restart: int = Field(
        0, ge=0, description="0 starts from the seed itself, every other number from a random perturbation of it."
    )


class LatentSearchSpec(Spec):
    """How latents are searched: Liu et al. 2023 (arXiv:2306.00974); iterations, step and box as in its pseudo-code."""

    kind: Literal["latent"] = "latent"
    sampler: SamplerSpec = SamplerSpec(scheduler="ddim", steps=20)
    gradient: AnyGradient = Residual()
    loss: AnyLoss = MarginLoss()
    validity: Validity = Validity()
    iterations: int = Field(
        100, ge=0, le=100_000, description="Steps; each ends in one picture, and so does the start."
    )
    step: float = Field(0.05, gt=0, description="Length of a step in every entry of the unit-variance latent.")
    box: float = Field(1.0, gt=0, description="Largest |entry| of the perturbation.")
    retreats: int = Field(
        5,
        ge=0,
        le=30,
        description="Halvings in the search for the longest part of a perturbation that is valid; 0 lets it leave.",
    )
    early_stop: bool = Field(True, description="Stop a row at its first accepted failure; else look for a clearer one.")
    batch: int = Field(8, gt=0, le=4096, description="Rows per forward pass; a smaller batch is padded to it.")


class Failing(NamedTuple):
    """A latent whose picture every member and the judge reject."""

    latent: Latent
    iteration: int
    """0: the plain seed fails by itself."""
    objective: float
    tests: LatentTests


@dataclass
class Found:
    """What one search has found, and what that took."""

    attempt: Attempt
    start: Latent
    curve: list[float] = field(default_factory=list)
    """The objective of each picture, the start's first; NaN ends the search."""
    accepted: Failing | None = None
    """The accepted failure of the largest objective."""
    first: Failing | None = None
    """The first failure, whether its latent is valid or not: what NGR is a share of."""
    best: Latent | None = None
    """The latent of the largest objective, failure or not, valid or not; None before any picture."""

    @property
    def evaluations(self) -> int:
        """Pictures drawn. One with its gradient costs more than one without: see `Gradient.cost`."""
        return len(self.curve)

    @property
    def natural(self) -> bool:
        """Whether the plain seed fails by itself, which no search can claim."""
        return self.first is not None and self.first.iteration == 0 and self.attempt.restart == 0

    @property
    def latent(self) -> Latent:
        """The accepted latent, or the best one, or the start."""
        if self.accepted is not None:
            return self.accepted.latent
        return self.start if self.best is None else self.best


class Tick(NamedTuple):
    """What one picture of every row of the batch has brought."""

    ended: list[Found]
    """The searches that it has ended."""
    pictures: int
    """Drawn so far, in all searches."""
    objective: float
    """What these pictures have come to on average, which a search maximises; NaN where one is not finite."""


@dataclass(eq=False)
class _Row:
    """A search under way."""

    found: Found
    label: int
    latent: Latent

    def see(self, value: float, fails: bool, spec: LatentSearchSpec) -> bool:
        """Take note of the picture of the latent; return whether the search goes on."""
        found = self.found
        if not found.curve or value > max(found.curve):
            found.best = self.latent
        found.curve.append(value)
        if fails:
            failure = Failing(self.latent, len(found.curve) - 1, value, latent_tests(self.latent))
            found.first = found.first or failure
            clearer = found.accepted is None or value > found.accepted.objective
            if clearer and spec.validity.accepts(self.latent):
                found.accepted = failure
        stop = spec.early_stop and found.accepted is not None
        return bool(np.isfinite(value)) and not stop and len(found.curve) <= spec.iterations


class LatentSearch:
    """The search, over one generator and one ensemble; call it on any number of attempts.

    Rows that stop make room for the next ones, so that a batch stays full. A row's result depends on the row and on
    `batch` alone, not on the rows beside it, as far as rounding in the network does not; a sign step takes no notice of
    rounding but where a slope is nearly zero. Raises ValueError for a sampler that the gradient cannot follow; that it
    must be DDIM shows at the first call.
    """

    def __init__(self, spec: LatentSearchSpec, generator: "Stepwise", surrogate: Surrogate) -> None:
        self.spec, self.generator, self.surrogate = spec, generator, surrogate
        generator.check(spec.sampler)
        spec.gradient.cost(spec.sampler.steps)  # refuses what it cannot differentiate

    def __call__(self, attempts: Sequence[Attempt]) -> list[Found]:
        """Return what was found, in the order of the attempts.

        Raises ValueError for a class or a target that is not in the label set, for a target that is the class, and for
        a prompt that the generator cannot draw.
        """
        ended = {one.attempt: one for tick in self.ticks(attempts) for one in tick.ended}
        return [ended[attempt] for attempt in attempts]

    def ticks(self, attempts: Sequence[Attempt]) -> Iterator[Tick]:
        """Yield after every picture of the batch; each search is among those that ended once. Raises as a call does."""
        check(attempts, self.generator, self.surrogate)
        waiting = deque(self._row(attempt) for attempt in dict.fromkeys(attempts))
        active: list[_Row] = []
        drawn = 0
        while waiting or active:
            active += [waiting.popleft() for _ in range(min(len(waiting), self.spec.batch - len(active)))]
            drawn += len(active)
            on = self._tick(active)
            ended = [row.found for row in active if row not in on]
            yield Tick(ended, drawn, float(np.mean([row.found.curve[-1] for row in active])))
            active = on

    def _row(self, attempt: Attempt) -> _Row:
        start = seed_latent(self.generator, self.spec.sampler, attempt.seed)
        latent = start
        if attempt.restart:
            drawn = rng(attempt.seed, "restart", attempt.restart).uniform(-self.spec.box, self.spec.box, start.shape)
            latent = within(start, drawn.astype(np.float32), self.spec)
        return _Row(Found(attempt, start), self.surrogate.labels.index(attempt.label), latent)

    def _tick(self, rows: list[_Row]) -> list[_Row]:
        """Draw one picture of each row and move its latent; return the rows that go on."""
        values, gradients, fails = self._evaluate(rows)
        on = []
        for row, value, gradient, fail in zip(rows, values, gradients, fails, strict=True):
            if row.see(float(value), bool(fail), self.spec):
                row.latent = move(row.latent, row.found.start, gradient, self.spec)
                on.append(row)
        return on

    def _evaluate(self, rows: list[_Row]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the objective [b], its gradient [b c h w], and whether the picture is a failure [b]."""
        ((padded, real),) = chunks(rows, self.spec.batch)
        attempts = [row.found.attempt for row in padded]
        x = torch.from_numpy(np.stack([row.latent for row in padded])).to(self.generator.device).requires_grad_()
        with torch.enable_grad():
            prompts = [attempt.prompt for attempt in attempts]
            pixels = pictures(self.generator, x, prompts, self.spec.sampler, self.spec.gradient).permute(0, 3, 1, 2)
            log_p = self.surrogate.log_probabilities(pixels.clamp(0, 1))
            values = torch.stack([self._objective(log_p[:, number], row) for number, row in enumerate(padded)])
            (gradient,) = torch.autograd.grad(values.sum(), x)
        targets = [attempt.target for attempt in attempts]
        fails = self.surrogate.fails(pixels.detach(), [attempt.label for attempt in attempts], targets)
        return values.detach().cpu().numpy()[:real], gradient.cpu().numpy()[:real], fails.numpy()[:real]

    def _objective(self, log_p: torch.Tensor, row: _Row) -> torch.Tensor:
        return self.spec.loss(row.found.attempt.target, log_p, row.label, self.surrogate.labels)


def seed_latent(generator: "Stepwise", sampler: SamplerSpec, seed: int) -> Latent:
    """Return the latent [c h w] that a plain row of this seed starts from, as `Generate` draws it."""
    latent: Latent = rng(seed, "latent").standard_normal(generator.latent_shape(sampler.size_px), dtype=np.float32)
    return latent


def check(attempts: Sequence[Attempt], generator: "Stepwise", surrogate: Surrogate) -> None:
    """Refuse attempts that cannot be judged or drawn; raises ValueError."""
    for attempt in attempts:
        attempt.target.check(attempt.label, surrogate.labels)
        generator.check_prompt(attempt.prompt)


def move(latent: Latent, start: Latent, gradient: Latent, spec: LatentSearchSpec) -> Latent:
    """Return the latent [c h w] after one sign step up the gradient, in the box around `start`, projected and valid.

    The step and the box are those of SAGE's pseudo-code. Departs from it in two ways. The step follows the gradient
    along the latents of this mean and norm, since the part that the projection takes back would bias the sign. And
    where the projected latent fails a test that its start passes, the perturbation is shortened to the longest part
    that is found to pass, by bisection.
    """
    upwards = np.sign(_tangent(gradient.astype(np.float64), latent.astype(np.float64)))
    perturbation = (latent - start + spec.step * upwards).astype(np.float32)
    return within(start, perturbation, spec)


def within(start: Latent, perturbation: Latent, spec: LatentSearchSpec) -> Latent:
    """Return the latent [c h w] at the end of the longest part of `perturbation` that is found valid by bisection.

    It has the mean and norm of `start`, and stays in the box around it. Where no part is valid, or the start itself is
    not, it is that of all of the perturbation.
    """
    whole = boxed(start, perturbation, spec.box)
    if not spec.retreats or spec.validity.accepts(whole) or not spec.validity.accepts(start):
        return whole
    low, high, best = 0.0, 1.0, whole
    for _ in range(spec.retreats):
        middle = np.float32((low + high) / 2)
        if spec.validity.accepts(part := boxed(start, middle * (whole - start), spec.box)):
            low, best = float(middle), part
        else:
            high = float(middle)
    return best


def boxed(start: Latent, perturbation: Latent, box: float) -> Latent:
    """Return a latent [c h w] of the mean and norm of `start`, at most `box` from it in every entry.

    The two sets are projected on in turn, since each projection leaves the other set; after `ROUNDS` of them an entry
    may still lie outside the box by a little, never the norm.
    """
    x = start + perturbation
    for _ in range(ROUNDS):
        x = project(start + np.clip(x - start, -box, box), start)
        if np.abs(x - start).max() <= box * (1 + CLOSE):
            break
    return x


def _tangent(gradient: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the gradient without the parts that change the mean or the norm."""
    outwards = at - at.mean()
    flat = gradient - gradient.mean()
    return flat - outwards * (np.sum(flat * outwards) / np.sum(outwards**2))


def success_rate(found: Sequence[Found]) -> Estimate:
    """Return SSR(A): the share of searches with an accepted failure, with Wilson's interval.

    Over the seeds that do not fail by themselves; those that do are counted as missing.
    """
    outcomes = [np.nan if one.natural else float(one.accepted is not None) for one in found]
    return Proportion().of(np.array(outcomes, dtype=np.float64))


def rejected_rate(found: Sequence[Found], validity: Validity) -> Estimate:
    """Return NGR: of the searches that came upon a failure, the share whose first failing latent the tests reject.

    With retreats it says how often they were in vain; without, how often the search leaves N(0, I).
    """
    outcomes = [np.nan if one.first is None else float(not validity.accepts(one.first.latent)) for one in found]
    return Proportion().of(np.array(outcomes, dtype=np.float64))
