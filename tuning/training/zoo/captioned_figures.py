"""The figures of the text-to-image models that are one factor apart: each drawn by both samplers, and its bound."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from stages.models.chunks import chunks
from stages.models.generator import Stepwise
from stages.models.loading import load_generator
from stages.models.schedules import learns_variance
from stages.models.spec import ModelSpec
from stages.models.zoo import Figure
from stages.randomness import rng
from stages.sampling import SamplerSpec
from stages.sampling.upsampling import Upsampling
from tuning.training.zoo.bound import bound_figures
from tuning.training.zoo.measure import GUIDANCE, PROMPTS, Pictures, judged
from tuning.training.zoo.pixel import enlarged

ANCESTRAL = SamplerSpec(scheduler="ddpm", steps=25, guidance=GUIDANCE)
DDIM = SamplerSpec(scheduler="ddim", steps=20, guidance=GUIDANCE)
NAMES = {"ddpm": "ancestral", "ddim": "DDIM"}


def captioned_figures(folder: Path, judges: Path, guidance: float = GUIDANCE, rounds: int = 2) -> tuple[Figure, ...]:
    """Measure what is seen in pictures of all prompts, first by the model's own sampler, and the variational bound.

    Pictures of 16 pixels are enlarged for those who look at them. Where the model has a second stage, the first round
    is drawn large as well.
    """
    model = cast("Stepwise", load_generator(ModelSpec(model=str(folder), device="cpu")))
    both = (ANCESTRAL, DDIM) if learns_variance(model.pipe.scheduler) else (DDIM, ANCESTRAL)
    figures: list[Figure] = []
    for sampler in (one.model_copy(update={"guidance": guidance}) for one in both):
        at = f"guidance {guidance:g}, {sampler.steps} {NAMES[sampler.scheduler]} steps"
        figures += judged(draw(model, range(rounds * len(PROMPTS)), sampler), judges, at)
    if getattr(model, "second", None) is not None:
        large = both[0].model_copy(update={"guidance": guidance, "upsampling": Upsampling()})
        figures += judged(draw(model, range(len(PROMPTS)), large), judges, "by the second stage")
    return (*figures, *bound_figures(folder))


def draw(
    model: Stepwise, seeds: Sequence[int], sampler: SamplerSpec, batch: int = 48, asked: Sequence[str] = PROMPTS
) -> Pictures:
    """Return a picture of each prompt in turn, at the size that the judges know."""
    pictures: list[np.ndarray | None] = []
    for chunk, real in chunks(seeds, batch):
        latents = [rng(seed, "latent").standard_normal(model.latent_shape(None), dtype=np.float32) for seed in chunk]
        prompts = [asked[seed % len(asked)] for seed in chunk]
        pictures += model.pictures(latents, prompts, chunk, sampler)[:real]
    return enlarged(np.stack([picture for picture in pictures if picture is not None]))
