"""What is trained, on what, and for how long. Imports no heavy library."""

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stages.base import Spec
from tuning.training.networks import AnyNetwork
from tuning.training.pictures import TrainingSet

if TYPE_CHECKING:
    from tuning.training.zoo.loop import LoopSpec


class Budget(Spec):
    """How long and how fast to train, counted in pictures seen, as EDM does; a picture counts each time it is seen."""

    pictures: int = Field(ge=1, description="Pictures seen in training.")
    batch: int = Field(128, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    warmup: int = Field(10_000_000, ge=1, description="Pictures over which the learning rate rises.")
    decay: int = Field(1, ge=1, description="Pictures over which it falls to zero at the end; 1: it does not fall.")
    half_life: int = Field(500_000, ge=1, description="Pictures after which a weight counts half in the average.")
    checkpoint: int = Field(1_000_000, ge=1, description="Pictures between two checkpoints.")
    seed: int = Field(0, ge=0, description="Seed of the first weights, of the order of pictures and of the noise.")

    def loop(self) -> "LoopSpec":
        """Return the same counted in steps."""
        from tuning.training.zoo.loop import LoopSpec

        return LoopSpec(
            steps=self._steps(self.pictures),
            batch=self.batch,
            learning_rate=self.learning_rate,
            warmup_steps=self._steps(self.warmup),
            decay_steps=self._steps(self.decay),
            weight_decay=0.0,
            average=0.5 ** (self.batch / self.half_life),
            checkpoint_steps=self._steps(self.checkpoint),
            seed=self.seed,
        )

    def _steps(self, pictures: int) -> int:
        return math.ceil(pictures / self.batch)


class PixelSpec(Spec):
    """One pixel-space model: what it is, what it is trained on, and for how long."""

    network: AnyNetwork
    data: TrainingSet
    budget: Budget
    null_share: float = Field(0.1, ge=0, le=1, description="Share of rows trained with the null class, for guidance.")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="Format of the network's arithmetic.")

    @property
    def loop(self) -> "LoopSpec":
        """The training loop."""
        return self.budget.loop()

    @property
    def images(self) -> int:
        """The pictures of the source."""
        return self.data.source.size()


class EdmSpec(PixelSpec):
    """A model in EDM's parametrisation."""

    kind: Literal["edm"] = "edm"
    log_sigma_mean: float = Field(-1.2, description="Mean of ln(sigma) in training, EDM's P_mean.")
    log_sigma_std: float = Field(1.2, gt=0, description="Standard deviation of ln(sigma) in training, EDM's P_std.")
