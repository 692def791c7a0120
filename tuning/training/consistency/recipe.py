"""Latent consistency distillation of a text-to-image model, plain (LCM) or adversarial (LCM-AT)."""

from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import LCMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from jaxtyping import Float, Int64
from torch import Tensor, nn
from typing_extensions import override

from stages.models.zoo import checksum
from tuning.training.consistency.settings import ConsistencySpec
from tuning.training.consistency.skipping import Batch, Rows, Solver, Times, consistent, distance, guided
from tuning.training.diffusion.attack import ascend, slope
from tuning.training.zoo.data import indices
from tuning.training.zoo.loop import Recipe, generator
from tuning.training.zoo.prompts import ThingPrompts, caption_table
from tuning.training.zoo.text_to_image import cached_latents

States = Float[Tensor, "b t d"]


class Draw(NamedTuple):
    """A minibatch: the same in every pass."""

    noisy: Batch
    time: Times
    before: Batch
    """Where the teacher's step from there ends."""
    text: States
    scale: Float[Tensor, "b w"]
    """The guidance scale as the network reads it."""


class Pair(nn.Module):
    """The student, which is trained, and the target, its running average, which is not."""

    def __init__(self, student: UNet2DConditionModel) -> None:
        super().__init__()
        self.student = student
        self.target = deepcopy(student).requires_grad_(requires_grad=False)

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Let the target follow the student by one update."""
        averages, values = list(self.target.parameters()), list(self.student.parameters())
        torch._foreach_lerp_(averages, values, 1 - decay)


class ConsistencyRecipe(Recipe[ConsistencySpec, Pair]):
    """Teach a student to draw from any noise level what it draws from the next one: Alg. 1 of arXiv:2310.04378.

    Models that differ in the perturbation alone see the same latents, noise, time steps and guidance.
    """

    def __init__(self, spec: ConsistencySpec, teacher: Path, cache: Path, device: str = "cpu") -> None:
        """Load the teacher from its folder; the latents of the pictures are kept in `cache`."""
        self.spec, self.device = spec, device
        self.pipe: Any = StableDiffusionPipeline.from_pretrained(teacher, safety_checker=None)
        version = checksum(teacher / "vae" / "diffusion_pytorch_model.safetensors")[:12]
        kept = cache / f"latents-{version}.safetensors"
        self.latents = cached_latents(self.pipe.vae, spec.images, kept, device)
        table = caption_table(self.pipe.tokenizer, self.pipe.text_encoder).to(device)
        self.prompts = ThingPrompts(table, no_words=0.0, no_colour=0.1)
        self.solver = Solver(self.pipe.scheduler.alphas_cumprod, spec.skip)
        self.teacher = placed(self.pipe.unet, device).requires_grad_(requires_grad=False)
        self.module = Pair(placed(student(self.teacher, spec.time_width), device))

    @override
    def loss(self, step: int) -> Tensor:
        """Return the loss of one step's first pass."""
        draw = self.draw(step)
        return self.errors(draw, torch.zeros_like(draw.noisy)).mean()

    @override
    def updates(self, step: int) -> Iterator[float]:
        draw, attack = self.draw(step), self.spec.perturbation
        delta = torch.zeros_like(draw.noisy)
        for left in reversed(range(attack.passes if attack else 1)):
            # of the weights that the loss is of: the loop changes them in between
            up = slope(partial(self.gap, draw, self.told(draw)), delta) if left else None
            if attack is None or attack.inner == "free" or not left:
                yield self._learn(draw, delta)
                self.module.follow(self.spec.target)
            if attack and up is not None:
                delta = ascend(delta, up, attack)

    def draw(self, step: int) -> Draw:
        """Return what a step sees, on the device: latents, noise, and the teacher's step."""
        spec, random = self.spec, generator(self.spec.loop.seed, "consistency", step)
        index = indices(step, spec.loop.batch, spec.images)
        clean = self.latents[torch.from_numpy(index)].float()
        noise = torch.randn(clean.shape, generator=random)
        starts = self.solver.starts
        time = starts[torch.randint(len(starts), (len(clean),), generator=random)]
        span = spec.guidance.high - spec.guidance.low
        guidance = spec.guidance.low + span * torch.rand(len(clean), generator=random)
        caption = self.prompts(index, random)
        clean, noise, time, guidance, caption = (x.to(self.device) for x in (clean, noise, time, guidance, caption))
        noisy, text = self.solver.noised(clean, noise, time), self.prompts.states(caption)
        before = self.solver.step(noisy, self._taught(noisy, time, text, guidance), time)
        return Draw(noisy, time, before, text, self._scale(guidance))

    def errors(self, draw: Draw, delta: Batch) -> Rows:
        """Return each row's distance between what the student and the target draw, the latter `delta` away."""
        aim = self.answer(draw, delta)
        return distance(self.told(draw, grad=True), aim if self.teaches_both else aim.detach(), self.spec.huber)

    def told(self, draw: Draw, *, grad: bool = False) -> Batch:
        """Return what the student draws from the noisier latents."""
        with torch.set_grad_enabled(grad):
            network = partial(self._noise, self.module.student, draw)
            return consistent(network, draw.noisy, draw.time, self.solver)

    def answer(self, draw: Draw, delta: Batch) -> Batch:
        """Return what the target, or the student itself, draws from where the teacher's step ended, `delta` away."""
        network = self.module.student if self.teaches_both else self.module.target
        noise, time = partial(self._noise, network, draw), self.solver.after(draw.time)
        return consistent(noise, draw.before + delta, time, self.solver)

    def gap(self, draw: Draw, told: Batch, delta: Batch) -> Rows:
        """Return what the attack raises: the distance, the student's side held fixed."""
        return distance(told, self.answer(draw, delta), self.spec.huber)

    @property
    def teaches_both(self) -> bool:
        """Whether the student stands on both sides."""
        attack = self.spec.perturbation
        return attack is not None and attack.orientation == "both"

    def _learn(self, draw: Draw, delta: Batch) -> float:
        loss = self.errors(draw, delta).mean()
        torch.autograd.backward(loss)
        return loss.item()

    @torch.no_grad()
    def _taught(self, noisy: Batch, time: Times, text: States, guidance: Rows) -> Batch:
        """Return the noise that the teacher sees, guided: Eq. 14."""
        silent = self.prompts.states(torch.full((len(noisy),), len(self.prompts.table) - 1, device=noisy.device))
        both = self.teacher(torch.cat([noisy] * 2), torch.cat([time] * 2), torch.cat([text, silent])).sample
        told, untold = both.chunk(2)
        return guided(told, untold, guidance)

    @staticmethod
    def _noise(network: UNet2DConditionModel, draw: Draw, x: Batch, time: Int64[Tensor, " b"]) -> Batch:
        x = x.contiguous(memory_format=torch.channels_last)
        output: Batch = network(x, time, draw.text, timestep_cond=draw.scale).sample
        return output

    def _scale(self, guidance: Rows) -> Float[Tensor, "b w"]:
        embedding: Tensor = self.pipe.get_guidance_scale_embedding(guidance - 1, embedding_dim=self.spec.time_width)
        return embedding

    @override
    def save(self, module: Pair, folder: Path) -> None:
        """Write the folder that `StableDiffusionPipeline.from_pretrained` loads, with an `LCMScheduler`."""
        steps = len(self.solver.starts)
        scheduler = LCMScheduler.from_config(self.pipe.scheduler.config, original_inference_steps=steps)
        parts = self.pipe.components | {"unet": module.student, "scheduler": scheduler}
        StableDiffusionPipeline(**parts, requires_safety_checker=False).save_pretrained(folder)


def student(teacher: UNet2DConditionModel, width: int) -> UNet2DConditionModel:
    """Return the teacher's network with one more input, the guidance, which it does not heed at first."""
    config = dict(teacher.config) | {"time_cond_proj_dim": width}
    network = UNet2DConditionModel.from_config(config)
    missing, unexpected = network.load_state_dict(teacher.state_dict(), strict=False)
    if unexpected or missing != ["time_embedding.cond_proj.weight"]:
        raise ValueError(f"teacher: expected a network without a guidance input, found {unexpected or missing}")
    nn.init.zeros_(network.time_embedding.cond_proj.weight)
    return network


def placed(network: UNet2DConditionModel, device: str) -> UNet2DConditionModel:
    """Return the network on a device, laid out as convolutions are computed fastest."""
    module: UNet2DConditionModel = network.to(device, memory_format=torch.channels_last)
    return module
