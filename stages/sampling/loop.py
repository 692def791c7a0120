"""The sampling loop: one trajectory per row, from unit-variance noise to a clean latent."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from stages.sampling.epsilon_scaling import EpsilonScaling
from stages.sampling.variance import guided_mean
from stages.tensors import Latents, Output, Time

Condition: TypeAlias = dict[str, Tensor]
"""What a model is conditioned on: named tensors, one entry per row."""

Noise: TypeAlias = Sequence[torch.Generator]
"""One generator per row, on the CPU."""

Prediction: TypeAlias = Callable[[Latents, Time], Output]


@runtime_checkable
class Denoiser(Protocol):
    """The network that a scheduler asks at every step."""

    def predict(self, x: Latents, t: Time, condition: Condition) -> Output:
        """Return epsilon, v or the flow, and a learned variance: whatever the model's scheduler expects."""


@runtime_checkable
class Branching(Denoiser, Protocol):
    """A network that need not do twice what the branches of guidance have in common."""

    def predict_branches(self, x: Latents, t: Time, both: Condition) -> tuple[Output, Output]:
        """Return `predict` of the same rows without and with their prompts, which `both` has in this order."""


@runtime_checkable
class Schedule(Protocol):
    """A scheduler whose steps are set."""

    timesteps: Tensor

    def start(self, latents: Latents) -> Latents:
        """Return unit-variance noise at the scale of the first step."""

    def scale(self, x: Latents, t: Time) -> Latents:
        """Return the model's input for the state `x`."""

    def step(self, output: Output, t: Time, x: Latents, noise: Noise) -> Latents:
        """Return the next state; what it draws comes from `noise`, row by row."""


class Moment(NamedTuple):
    """One call of the network, and the step that it leads to."""

    schedule: Schedule
    number: int
    """Calls before this one."""
    t: Time
    x: Latents
    seen: Latents
    """The network's input for the state `x`."""
    output: Latents
    after: Latents
    """The next state."""


Observer: TypeAlias = Callable[[Moment], None]
"""What looks on while a batch is drawn; it changes nothing."""


def sample(
    schedule: Schedule, predict: Prediction, latents: Latents, noise: Noise, observe: Observer | None = None
) -> Latents:
    """Return the clean latents that the trajectories from `latents` (unit variance) end in."""
    x = schedule.start(latents)
    for number, t in enumerate(schedule.timesteps):
        seen = schedule.scale(x, t)
        output = predict(seen, t)
        after = schedule.step(output, t, x, noise)
        if observe is not None:
            observe(Moment(schedule, number, t, x, seen, output, after))
        x = after
    return x


def guided(denoiser: Denoiser, conditional: Condition, unconditional: Condition, scale: float) -> Prediction:
    """Return the prediction under classifier-free guidance: Ho & Salimans 2022 (arXiv:2207.12598), Eq. 6.

    The paper's w is scale - 1. Costs two rows of the network per row, and one at scale 1 (conditional only) and at 0
    (unconditional only). diffusers takes every scale up to 1 as 1; here a scale between 0 and 1 interpolates. Only the
    mean is guided: a learned variance is that of the branch with the prompt (at scale 0, of the only one).
    """
    if scale in (0, 1):
        return unguided(denoiser, conditional if scale else unconditional)
    both = {name: torch.cat([unconditional[name], conditional[name]]) for name in conditional}

    def predict(x: Latents, t: Time) -> Output:
        if isinstance(denoiser, Branching):
            without, with_prompt = denoiser.predict_branches(x, t, both)
        else:
            without, with_prompt = denoiser.predict(torch.cat([x, x]), t, both).chunk(2)
        return guided_mean(without, with_prompt, scale, x.shape[1])

    return predict


def unguided(denoiser: Denoiser, condition: Condition) -> Prediction:
    """Return the plain prediction under `condition`."""
    return lambda x, t: denoiser.predict(x, t, condition)


def mean_only(predict: Prediction) -> Prediction:
    """Return the prediction without the learned variance that the network may have."""
    return lambda x, t: predict(x, t)[:, : x.shape[1]]


def scaled(predict: Prediction, scaling: EpsilonScaling, timesteps: Tensor) -> Prediction:
    """Return the prediction with its epsilon divided by lambda(t), over these steps; a learned variance stays.

    A method that asks twice at one time step divides by the same both times.
    """
    visited = timesteps.unique()  # ascending: the last step first

    def divided(x: Latents, t: Time) -> Output:
        output = predict(x, t)
        factor = scaling.factor(int((visited < t).sum()))
        return torch.cat([output[:, : x.shape[1]] / factor, output[:, x.shape[1] :]], dim=1)

    return divided
