"""Gradients of DDIM with respect to the seed latent: three estimators behind one union.

    pictures(generator, latents, prompts, sampler, Adjoint())

are those of `Stepwise.pictures` up to rounding, and differentiable. Which gradient they have is the estimator's choice.
"""

from abc import abstractmethod
from typing import Annotated, ClassVar, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
from pydantic import Field
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from stages.base import Spec
from stages.sampling.loop import Prediction
from stages.sampling.prompts import Extended, Prompts
from stages.sampling.reversible import Walk, recomputed, reversed_walk
from stages.sampling.spec import SamplerSpec
from stages.tensors import Latents, Pixels


class Cost(NamedTuple):
    """Steps of the network that one gradient takes, of which guidance makes two rows each."""

    forwards: int
    """Steps taken, the first walk included."""
    backwards: int
    """Steps whose vector-Jacobian product is taken: about two forward steps each."""


class Gradient(Spec):
    """A way to differentiate the walk from seed latent to clean latent. Every member has the same value."""

    reaches_prompts: ClassVar[bool] = True
    """Whether the gradient also reaches what the network is conditioned on."""

    @abstractmethod
    def clean(self, walk: Walk, latents: Latents) -> Latents:
        """Return the clean latents [b c h w] of unit-variance seed latents [b c h w], differentiable in these."""

    @abstractmethod
    def cost(self, steps: int) -> Cost:
        """Return what one value with its gradient costs on a walk of so many steps."""


class Full(Gradient):
    """Back-propagation through all steps, each of them checkpointed: Chen et al. 2016 (arXiv:1604.06174).

    Exact. Memory: a state a step and the activations of one step, so it grows slowly with the number of steps. The
    gradient also reaches what the network is conditioned on.
    """

    kind: Literal["full"] = "full"

    @override
    def clean(self, walk: Walk, latents: Latents) -> Latents:
        return _last_steps(walk, walk.start(latents), 0)

    @override
    def cost(self, steps: int) -> Cost:
        return Cost(2 * steps, steps)


class Residual(Gradient):
    """SAGE's residual connection: Liu et al. 2023 (arXiv:2306.00974), back-propagation through the last steps only.

    The state before them counts as (1 - w) times the seed latent plus a constant, in the straight-through form: the
    value is exact, the gradient an approximation whose factor a sign step does not see. The paper gives neither w nor
    the number of steps. Memory grows with `last_steps`, not with the sampler's steps.
    """

    kind: Literal["residual"] = "residual"
    last_steps: int = Field(5, gt=0, le=1000, description="Steps that are differentiated, counted from the end.")
    weight: float = Field(
        0.5, ge=0, lt=1, description="The paper's w, from 0 to 1 excluded: 1 - w scales the gradient."
    )

    @override
    def clean(self, walk: Walk, latents: Latents) -> Latents:
        self._check(len(walk))
        first, start = len(walk) - self.last_steps, walk.start(latents)
        with torch.no_grad():
            x = walk.run(start, 0, first)
        return _last_steps(walk, x + (1 - self.weight) * (start - start.detach()), first)

    @override
    def cost(self, steps: int) -> Cost:
        self._check(steps)
        return Cost(steps + self.last_steps, self.last_steps)

    def _check(self, steps: int) -> None:
        if self.last_steps >= steps:
            raise ValueError(
                f"residual: expected last_steps below the sampler's {steps} steps, found {self.last_steps}; "
                "use kind='full' to differentiate all of them"
            )


class Adjoint(Gradient):
    """The discrete adjoint of DDIM: the steps are walked backwards, one vector-Jacobian product each.

    Exact up to rounding. Memory: twice `slots` states at most and the activations of one step, whatever the number of
    steps; the states in between are taken again (see `reversed_walk`), so that it costs more steps than `full` where
    there are more steps than slots. The gradient reaches the seed latent only.
    """

    reaches_prompts: ClassVar = False

    kind: Literal["adjoint"] = "adjoint"
    slots: int = Field(8, gt=0, le=1000, description="States of the batch that are held at once.")

    @override
    def clean(self, walk: Walk, latents: Latents) -> Latents:
        return reversed_walk(walk, walk.start(latents), self.slots)

    @override
    def cost(self, steps: int) -> Cost:
        return Cost(2 * steps + recomputed(steps, self.slots), steps)


AnyGradient: TypeAlias = Annotated[Full | Residual | Adjoint, Field(discriminator="kind")]


def _last_steps(walk: Walk, x: Latents, first: int) -> Latents:
    for number in range(first, len(walk)):
        after: Tensor = checkpoint(walk.step, number, x, use_reentrant=False, preserve_rng_state=False)
        x = after
    return x


@runtime_checkable
class Differentiable(Protocol):
    """What of a `Stepwise` generator the gradient needs; named here so that specs load without diffusers."""

    def prediction(self, prompts: Prompts, sampler: SamplerSpec) -> Prediction:
        """Return the network under its prompts and its guidance."""

    def steps(self, sampler: SamplerSpec) -> dict[str, int | float | list[float] | list[int]]:
        """Return the arguments of the scheduler's `set_timesteps`."""

    def decode(self, latents: Latents) -> Pixels:
        """Return the pictures of clean latents, in [0, 1] but not yet clipped."""


def pictures(
    generator: Differentiable, latents: Latents, prompts: Prompts, sampler: SamplerSpec, gradient: Gradient
) -> Pixels:
    """Return pictures [b height width 3] in [0, 1], not yet clipped, of seed latents [b c h w] and a prompt per row.

    Unlike those of `Stepwise.draw` they are differentiable with respect to the latents, and to vectors behind the
    prompts. Raises ValueError for a sampler that is not DDIM with eta = 0, or that has a measurement or a second stage,
    and where the gradient that such vectors need does not reach them; TypeError for a generator that runs its own loop.
    """
    if isinstance(prompts, Extended) and prompts.vectors.requires_grad and not gradient.reaches_prompts:
        raise ValueError(
            f"gradients: expected kind='full' or 'residual' for vectors behind a prompt, found {gradient!r}, whose "
            "gradient reaches the seed latent only"
        )
    walk = walk_of(generator, prompts, sampler)
    return generator.decode(gradient.clean(walk, latents.to(walk.schedule.timesteps.device, torch.float32)))


def walk_of(generator: Differentiable, prompts: Prompts, sampler: SamplerSpec) -> Walk:
    """Return the steps of DDIM that take the rows of `prompts` from seed latent to clean latent; refuses as above."""
    from stages.models.generator import Stepwise
    from stages.models.schedules import CLASSES, schedule

    if not isinstance(generator, Stepwise):
        raise TypeError(
            f"gradients: expected a generator whose steps our own loop takes, found {type(generator).__name__}"
        )
    chosen = type(generator.pipe.scheduler) if sampler.scheduler == "model" else CLASSES[sampler.scheduler]
    if not issubclass(chosen, CLASSES["ddim"]) or sampler.eta:
        raise ValueError(
            f"gradients: expected scheduler 'ddim' with eta=0, found {sampler.scheduler!r} ({chosen.__name__}) with "
            f"eta={sampler.eta:g}"
        )
    if sampler.measurement or sampler.upsampling:
        raise ValueError("gradients: expected a sampler with neither measurement nor upsampling, found one of them")
    steps = schedule(generator.pipe.scheduler, sampler, generator.steps(sampler), generator.device)
    return Walk(steps, generator.prediction(prompts, sampler))
