"""What is drawn from a trained model, and what it is compared with. Imports no heavy library."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import override

from pipelines.quality import ExtractorChoice, JudgedSampler, refuse_sampler, refuse_twice
from stages.base import Spec, digest
from stages.models.source import fingerprint
from stages.sampling import SamplerSpec
from stages.sampling.epsilon_scaling import EpsilonScaling
from tuning.training.diffusion.settings import DiffusionSpec
from tuning.training.trial import Training

DDIM = JudgedSampler(name="DDIM", sampler=SamplerSpec(scheduler="ddim", guidance=1.0))
DIVERGED = "diverged"
"""The file in the folder of a training that did."""


class Judging(Spec):
    """Noises, samplers, calls of the network, and the real pictures; every model draws from the same noises."""

    noises: int = Field(500, ge=2, description="Pictures a sampler and number of calls; more than features.")
    first_seed: int = Field(100_000, ge=0, description="Seed of the first noise.")
    samplers: tuple[JudgedSampler, ...] = Field((DDIM,), min_length=1, description="`name` and `sampler`, guidance 1.")
    nfe: tuple[Annotated[int, Field(gt=0, le=1000)], ...] = Field((5, 10), min_length=1)
    extractor: ExtractorChoice = ExtractorChoice(model="zoo:classifier")
    reference: Literal["training", "unseen"] = Field(
        "training", description="Real pictures: those of the training set, or those of its source that are not in it."
    )
    groups: int = Field(20, ge=4, le=100, description="Random groups of the jackknife.")

    @model_validator(mode="after")
    def _each_once(self) -> "Judging":
        refuse_twice("samplers", tuple(entry.name for entry in self.samplers))
        refuse_twice("nfe", tuple(map(str, self.nfe)))
        for entry in self.samplers:
            refuse_sampler(entry)
            if entry.sampler.guidance != 1 or entry.sampler.epsilon_scaling:
                raise ValueError(f"samplers, {entry.name}: expected guidance=1 and no epsilon_scaling; see space.scale")
        return self

    def cells(self, scale: float | None) -> Iterator[tuple[str, SamplerSpec]]:
        """Yield every sampler with every number of calls by its name, the predicted noise divided by `scale`."""
        for entry, calls in product(self.samplers, self.nfe):
            scaling = None if scale is None else EpsilonScaling(scale=scale)
            yield f"{entry.name} {calls}", entry.sampler.model_copy(update={"steps": calls, "epsilon_scaling": scaling})

    def next(self, noises: int) -> "Judging":
        """Return the same with the noises after these."""
        return self.model_copy(update={"noises": noises, "first_seed": self.first_seed + self.noises})


class Judged(Training):
    """A model to train and to draw from, at every checkpoint and at the end."""

    model: DiffusionSpec
    judging: Judging
    scale: float | None = Field(None, gt=0, description="Of the predicted noise in sampling; null: not scaled.")
    worth: int = Field(ge=1, description="Pictures that a plain training of equal cost sees: progress at the end.")

    @property
    @override
    def pictures(self) -> int:
        return self.worth

    @property
    def rungs(self) -> int:
        """Return the number of checkpoints, the end included."""
        return -(-self.model.minibatches // self.model.loop.checkpoint_steps)

    @property
    def measured(self) -> Path:
        """Return the file of what the trained model draws."""
        return self.at(self.model.minibatches)

    def at(self, step: int) -> Path:
        """Return the file of what the model draws after so many minibatches."""
        return self.folder / f"{self._drawn}-{step}.safetensors"

    def reached(self) -> list[int]:
        """Return the minibatches after which it has drawn, in order."""
        return sorted(int(file.stem.rpartition("-")[2]) for file in self.folder.glob(f"{self._drawn}-*.safetensors"))

    @property
    def _drawn(self) -> str:
        weights = fingerprint(self.judging.extractor.model, "timm")
        what = digest([self.judging.model_dump(mode="json", exclude={"groups"}), self.scale, weights])
        return f"features-{what[:8]}"

    def counts(self, step: int) -> dict[str, float]:
        """Return progress and cost after so many minibatches; equal numbers of checkpoints are equal progress."""
        rung, cost = -(-step // self.model.loop.checkpoint_steps), self.model.perturbation
        return {
            "pictures": float(round(self.worth * rung / self.rungs)),
            "minibatches": float(step),
            "updates": float(step * cost.updates),
            "passes": float(step * cost.passes),
        }

    @property
    def real(self) -> Path:
        """Return the file of the statistics of the real pictures; trials on the same pictures share it."""
        extractor = self.judging.extractor
        settings = [self.model.data.model_dump(mode="json"), self.judging.reference, extractor.model_dump(mode="json")]
        found = digest([*settings, fingerprint(extractor.model, "timm")])[:16]
        return Path(self.output) / "trained" / f"real-{found}.safetensors"
