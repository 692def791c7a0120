"""Linear losses of detail, for inverse problems: values, not stages."""

from typing import Annotated, TypeAlias

from pydantic import Field

from stages.degradations.base import Degradation
from stages.degradations.deblurring import GaussianDeblurring
from stages.degradations.inpainting import BoxInpainting, RandomInpainting
from stages.degradations.super_resolution import SuperResolution

AnyDegradation: TypeAlias = Annotated[
    BoxInpainting | RandomInpainting | SuperResolution | GaussianDeblurring,
    Field(discriminator="kind"),
]

__all__ = [
    "AnyDegradation",
    "BoxInpainting",
    "Degradation",
    "GaussianDeblurring",
    "RandomInpainting",
    "SuperResolution",
]
