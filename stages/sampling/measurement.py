"""Measurement: what an inverse problem has seen of a picture, and how hard sampling follows it."""

from typing import Literal

from pydantic import Field, model_validator

from stages.base import Spec
from stages.degradations import AnyDegradation
from stages.degradations.pictures import AnyPicture, WorldPicture


class Measurement(Spec):
    """What is known of the picture, z = A x + noise, and the step size that sampling follows it with.

    Diffusion posterior sampling, Chung et al. 2023 (arXiv:2209.14687), with a deterministic sampler. The step is taken
    in the variance-preserving state whatever state the scheduler keeps, so that a scale means the same for each.
    """

    operator: AnyDegradation
    picture: AnyPicture = WorldPicture()
    noise: float = Field(0.05, ge=0, description="Standard deviation of the measurement's noise; pictures in [-1, 1].")
    scale: float | None = Field(
        None, ge=0, description="Step size; null is the operator's own: 0.5 for inpainting, 0.3 for the others."
    )
    gradient_of: Literal["norm", "squared_norm"] = Field(
        "norm", description="What is descended: ||z - A x||, as the method's code does, or its square."
    )

    @model_validator(mode="after")
    def _own_scales_are_for_the_norm(self) -> "Measurement":
        if self.gradient_of == "squared_norm" and self.scale is None:
            raise ValueError(
                "measurement: gradient_of='squared_norm' needs a scale; the operators' own are for the norm"
            )
        return self

    @property
    def step_size(self) -> float:
        """The scale, the operator's own where none is given."""
        return self.operator.scale if self.scale is None else self.scale
