"""An analytic model behind the seam of every other: it answers what its scheduler would ask a network."""

from dataclasses import dataclass

import torch
from typing_extensions import override

from stages.models.analytic.base import AnalyticModel
from stages.models.generator import from_centred
from stages.models.placement import Placement
from stages.models.schedules import Scheduler, preconditioning
from stages.models.unconditional import Labelled
from stages.sampling.loop import Condition
from stages.tensors import Latents, Pixels, Time


@dataclass(frozen=True)
class AnalyticPipe:
    """What a pipeline of diffusers would hold."""

    model: AnalyticModel
    scheduler: Scheduler
    vae_scale_factor: int = 1


class AnalyticGenerator(Labelled):
    """An analytic model: unconditional, in pixels, of its own size only."""

    @override
    def __init__(self, pipe: AnalyticPipe, placement: Placement) -> None:
        super().__init__(pipe, placement)
        pipe.model.to(self.device)
        self.classes, self.null = {}, None
        self.precondition = preconditioning(pipe.scheduler)

    @override
    def predict(self, x: Latents, t: Time, condition: Condition) -> Latents:
        at = self.precondition(t)
        state = x.to(torch.float64) * at.size
        clean = self.pipe.model.denoise(state, at.sigma)
        return ((clean - at.skip * state) / at.out).float()

    @override
    def latent_shape(self, size_px: int | None) -> tuple[int, int, int]:
        shape: tuple[int, int, int] = self.pipe.model.shape
        if size_px not in (None, shape[2]):
            raise ValueError(f"sampler: size_px of this model must be {shape[2]}, but is {size_px}")
        return shape

    @override
    def decode(self, latents: Latents) -> Pixels:
        return from_centred(latents)
