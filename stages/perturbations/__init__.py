"""Changes to the seed latent: values, not stages."""

from typing import Annotated, TypeAlias

from pydantic import Field, TypeAdapter

from stages.perturbations.arrangement_shift import ArrangementShift
from stages.perturbations.base import LatentPerturbation
from stages.perturbations.control import Control
from stages.perturbations.frequency_shift import FrequencyShift
from stages.perturbations.mean_shift import ChannelShift, UniformMeanShift, UniformRandomMeanShift
from stages.perturbations.plane import Plane
from stages.perturbations.random_direction import RandomDirection
from stages.perturbations.slerp import Slerp
from stages.perturbations.spatial_roll import SpatialRoll
from stages.perturbations.std_shift import MixedShift, StdShift
from stages.perturbations.unlikeliness import Unlikeliness, unlikeliness, unlikeliness_of_each

AnyPerturbation: TypeAlias = Annotated[
    Control
    | UniformMeanShift
    | UniformRandomMeanShift
    | StdShift
    | MixedShift
    | ArrangementShift
    | RandomDirection
    | Slerp
    | FrequencyShift
    | ChannelShift
    | SpatialRoll
    | Plane,
    Field(discriminator="kind"),
]

_ADAPTER: TypeAdapter[AnyPerturbation] = TypeAdapter(AnyPerturbation)


def parse(json: str) -> AnyPerturbation:
    """Return the perturbation that `json` describes: what a row's column `perturbation` holds."""
    return _ADAPTER.validate_json(json)


__all__ = [
    "AnyPerturbation",
    "ArrangementShift",
    "ChannelShift",
    "Control",
    "FrequencyShift",
    "LatentPerturbation",
    "MixedShift",
    "Plane",
    "RandomDirection",
    "Slerp",
    "SpatialRoll",
    "StdShift",
    "UniformMeanShift",
    "UniformRandomMeanShift",
    "Unlikeliness",
    "parse",
    "unlikeliness",
    "unlikeliness_of_each",
]
