"""Upsampling: how the second stage of a pixel model enlarges the picture of the first. Imports no heavy library."""

from typing import Annotated, Literal

from pydantic import Field

from stages.base import Spec


class Upsampling(Spec):
    """How the second stage enlarges the picture of the first; what is null is the model's own.

    Its noise is the row's own and never perturbed: only the first stage's latent is.
    """

    scheduler: Literal["ddim", "ddpm"] | None = None
    steps: Annotated[int, Field(gt=0, le=1000)] | Literal["fast27"] | None = Field(
        None, description="Steps, or 'fast27': the 27 that GLIDE's upsampler was published with."
    )
    guidance: float | None = Field(None, ge=0, description="Scale of the guidance, as in the sampler itself.")
    temperature: float | None = Field(
        None, ge=0, description="Standard deviation of the noise that it starts from; GLIDE's is 0.997."
    )
    noise_level: int | None = Field(
        None,
        ge=0,
        lt=1000,
        description="Training step whose noise DeepFloyd IF adds to the small picture; others: none.",
    )

    def over(self, own: "Upsampling") -> "Upsampling":
        """Return these settings with the model's `own` where they are null."""
        given = {name: value for name, value in self if value is not None}
        return own.model_copy(update=given)
