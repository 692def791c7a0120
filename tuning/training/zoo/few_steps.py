"""The figures of a model that draws in few steps, beside its teacher with as many."""

from pathlib import Path
from typing import cast

from stages.models.generator import Stepwise
from stages.models.loading import load_generator
from stages.models.spec import ModelSpec
from stages.models.zoo import Figure
from stages.sampling import SamplerSpec
from tuning.training.zoo.captioned_figures import draw
from tuning.training.zoo.measure import GUIDANCE, PROMPTS, judged

STEPS = (1, 2, 4, 8)


def few_step_figures(folder: Path, weights: Path, rounds: int = 2) -> tuple[Figure, ...]:
    """Measure what is seen in pictures of all prompts by number of steps; the teacher is that of `weights`."""
    figures: list[Figure] = []
    for place, own, of in ((folder, "lcm", ""), (weights / "text-to-image", "ddim", ", the teacher by DDIM")):
        model = cast("Stepwise", load_generator(ModelSpec(model=str(place), device="cpu")))
        for steps in STEPS:
            sampler = SamplerSpec.model_validate({"scheduler": own, "steps": steps, "guidance": GUIDANCE})
            at = f"guidance {GUIDANCE:g}, {steps} steps{of}"
            figures += judged(draw(model, range(rounds * len(PROMPTS)), sampler), weights, at)
    return tuple(figures)
