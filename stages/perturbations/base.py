"""LatentPerturbation: one change to the seed latent, described by numbers."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np

from stages.arrays import Latent
from stages.base import Spec


class LatentPerturbation(Spec):
    """A change to the seed latent, before the scheduler's initial scaling.

    Give it the same generator state at every strength, `rng(seed, "perturbation")`, so that a curve follows one
    direction from its control.
    """

    mildest: ClassVar[Mapping[str, float]]
    """The fields, and their values, at which the latent comes back bit for bit."""
    strength_field: ClassVar[str | None]
    """The field on the x axis of a curve; None for the control, which has none."""

    @abstractmethod
    def perturb(self, x: Latent, rng: np.random.Generator) -> Latent:
        """Return a new, perturbed latent; `x` is left as it is."""

    @final
    def __call__(self, x: Latent, rng: np.random.Generator) -> Latent:
        """Return a perturbed copy of `x`: at the mildest setting, `x` bit for bit.

        No formula runs there, since `x + 0.0` would turn -0.0 into 0.0.
        """
        return x.copy() if self.is_mildest else self.perturb(x, rng)

    @property
    def is_mildest(self) -> bool:
        """Whether this setting is the control."""
        return all(getattr(self, field) == value for field, value in self.mildest.items())

    @property
    def strength(self) -> float:
        """The value of the strength field; 0 for the control."""
        return float(getattr(self, self.strength_field)) if self.strength_field else 0.0

    @property
    def family(self) -> str:
        """The kind and every other parameter that is not at its default: what one curve has in common."""
        apart = {"kind", self.strength_field}
        fields = {name: field for name, field in type(self).model_fields.items() if name not in apart}
        values = {name: getattr(self, name) for name, field in fields.items() if getattr(self, name) != field.default}
        kind: str = getattr(self, "kind")  # noqa: B009  each member declares its own literal
        return kind + (f"({', '.join(f'{name}={value}' for name, value in values.items())})" if values else "")
