"""One recipe for plain, fine-tuned, input-perturbed and adversarial training of pixel models that predict the noise."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import torch
from diffusers import DDPMScheduler
from jaxtyping import Float, Int64
from torch import Tensor
from typing_extensions import override

from stages.randomness import rng
from tuning.training.diffusion.attack import Batch, Rows, Signal, ascend, noised, size, squares, target
from tuning.training.diffusion.network import answering, check_start, dropping
from tuning.training.diffusion.perturbations import Adversarial, InputNoise
from tuning.training.diffusion.settings import DiffusionSpec
from tuning.training.diffusion.times import LossAware, Times, Uniform
from tuning.training.group import ALONE, Group
from tuning.training.pictures import Pictures
from tuning.training.pixels import PixelRecipe, as_function
from tuning.training.zoo.captioned import BETAS
from tuning.training.zoo.loop import generator
from tuning.training.zoo.variational import VariationalBound

TIMES: dict[str, type[Times]] = {"uniform": Uniform, "loss_aware": LossAware}


class Draw(NamedTuple):
    """A minibatch, or a part of it: the same in every pass."""

    clean: Batch
    noise: Batch
    time: Int64[Tensor, " b"]
    weight: Float[Tensor, " b"]
    label: Int64[Tensor, " b"]


@dataclass
class Walk:
    """A minibatch in equal parts, and how far each of them has been moved."""

    step: int
    parts: list[Draw]
    deltas: list[Batch]
    losses: list[float] = field(default_factory=list)
    """Of the passes so far."""


class Told(NamedTuple):
    """What one minibatch showed."""

    before: float
    """The loss of the first pass, on pictures that no attack has moved."""
    after: float
    """That of the last pass."""
    size: float
    """The mean l2 norm of the perturbations in the last pass."""


class DiffusionRecipe(PixelRecipe[DiffusionSpec]):
    """Predict the noise: Ho et al. 2020 (arXiv:2006.11239), Alg. 1, in pictures that a perturbation has moved.

    A learned variance adds the variational bound at the perturbed point: Nichol & Dhariwal 2021 (arXiv:2102.09672),
    Eq. 16; attacks climb the whole loss, as in the released code. Models that differ in the perturbation alone see the
    same pictures, noise and, drawn uniformly, time steps.
    """

    scheduler: DDPMScheduler

    @override
    def __init__(
        self, spec: DiffusionSpec, device: str = "cpu", pictures: Pictures | None = None, group: Group = ALONE
    ) -> None:
        self.scheduler = schedule(spec)
        check_start(spec, self.scheduler)
        super().__init__(spec, device, pictures, group)
        self.module = dropping(answering(self.module, 3 if spec.variance == "fixed" else 6), spec.dropout)
        self.signal = self.scheduler.alphas_cumprod.to(device)
        self.bound = VariationalBound(self.scheduler.alphas_cumprod, discrete=True)
        self.times = TIMES[spec.times](spec.noise_levels)
        self.told: list[Told] = []

    @override
    def loss(self, step: int) -> Tensor:
        """Return the loss of one step's first pass."""
        draw = self.draw(step)
        return (draw.weight * self.errors(draw, self.start(step, draw), (step, 0, 0))).mean()

    @override
    def updates(self, step: int) -> Iterator[float]:
        draw, count, attack = self.draw(step), self.spec.accumulate, self.spec.perturbation
        parts = [Draw(*part) for part in zip(*(self.group.share(x).chunk(count) for x in draw), strict=True)]
        walk = Walk(step, parts, list(self.group.share(self.start(step, draw)).chunk(count)))
        if isinstance(attack, Adversarial):
            yield from self._climb(walk, attack)
        yield self._pass(walk, trains=True)
        length = self.group.gather(torch.cat([size(delta) for delta in walk.deltas])).mean().item()
        self.told.append(Told(walk.losses[0], walk.losses[-1], length))

    def draw(self, step: int) -> Draw:
        """Return what a step sees, on the device; time steps, noise and classes are drawn apart."""
        seed, rows = self.spec.budget.seed, self.rows(step)
        clean = self.clean[rows]
        noise = torch.randn(clean.shape, generator=generator(seed, "noise", step))
        time, weight = self.times.draw(len(rows), generator(seed, "time", step))
        label = self._labels(rows, generator(seed, "label", step))
        return Draw(*(part.to(self.device) for part in (clean, noise, time, weight, label)))

    def start(self, step: int, draw: Draw) -> Batch:
        """Return how far the pictures of the first pass lie from the noisy ones."""
        how = self.spec.perturbation
        if not isinstance(how, InputNoise):
            return torch.zeros_like(draw.noise)
        further = torch.randn(draw.noise.shape, generator=generator(self.spec.budget.seed, "input", step))
        return (1 - self._signal(draw)).sqrt() * how.gamma * further.to(self.device)

    def errors(self, draw: Draw, delta: Batch, place: tuple[int, int, int]) -> Rows:
        """Return each picture's loss, not weighted, `delta` away; step, pass and part seed the dropout."""
        signal = self._signal(draw)
        seed = int(rng(self.spec.budget.seed, "dropout", *place).integers(2**63))
        with self._seeded(seed):
            output = as_function(self.module)(noised(draw.clean, draw.noise, signal) + delta, draw.time, draw.label)
        predicted, *v = output.float().split(draw.clean.shape[1], dim=1)
        error = squares(predicted - self._aim(draw, delta, signal))
        if not v:
            return error
        seen = target(draw.noise, delta, signal, "detached")  # the noise that leads from the clean picture to here
        share = self.spec.vlb_weight * self.spec.noise_levels
        return error + share * self.bound.bits(predicted, v[0], seen, draw.clean, draw.time)

    @override
    def figures(self) -> Mapping[str, float]:
        told, self.told = self.told, []
        if not told:
            return {}
        means = (sum(values) / len(told) for values in zip(*told, strict=True))
        return {f"attack {name}": mean for name, mean in zip(Told._fields, means, strict=True)}

    @override
    def state(self) -> Mapping[str, Tensor]:
        return self.times.state()

    @override
    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.times.restore(state)

    def _climb(self, walk: Walk, attack: Adversarial) -> Iterator[float]:
        """Take K - 1 steps up; `free` shares each backward pass between the perturbation and the parameters."""
        for _ in range(attack.passes - 1):
            for delta in walk.deltas:
                delta.requires_grad_()
            loss = self._pass(walk, trains=attack.inner == "free")
            walk.deltas = [ascend(delta, cast("Tensor", delta.grad), attack) for delta in walk.deltas]
            if attack.inner == "free":
                yield loss

    def _pass(self, walk: Walk, *, trains: bool) -> float:
        """Add the gradients of one pass: to perturbations that ask for them, and to the parameters if it `trains`."""
        total, number, seen = 0.0, len(walk.losses), []
        for part, (draw, delta) in enumerate(
            zip(walk.parts, walk.deltas, strict=True), self.group.rank * len(walk.parts)
        ):
            errors = self.errors(draw, delta, (walk.step, number, part))
            loss = (draw.weight * errors).sum() / self.spec.budget.batch
            torch.autograd.backward(loss, inputs=None if trains else [delta])
            total += loss.item()
            seen.append(errors.detach())
        if number == 0:
            time = self.group.gather(torch.cat([draw.time for draw in walk.parts]))
            self.times.learn(time, self.group.gather(torch.cat(seen)))
        walk.losses.append(self.group.total(total, self.device))
        return walk.losses[-1]

    def _aim(self, draw: Draw, delta: Batch, signal: Signal) -> Batch:
        """Return what the network should have answered: noise added to the input alone leaves that as it is."""
        how = self.spec.perturbation
        return target(draw.noise, delta, signal, how.gradient) if isinstance(how, Adversarial) else draw.noise

    def _signal(self, draw: Draw) -> Signal:
        return self.signal[draw.time].view(-1, 1, 1, 1)


def schedule(spec: DiffusionSpec) -> DDPMScheduler:
    """Return the noise schedule; sampled as ADM is unless told otherwise, from the last training step on."""
    return DDPMScheduler(
        **BETAS[spec.schedule],
        num_train_timesteps=spec.noise_levels,
        variance_type="fixed_small" if spec.variance == "fixed" else spec.variance,
        timestep_spacing="linspace",
    )
