"""Exposure bias: how far the states of sampling are from the noisy pictures of training, step by step."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from stages.metrics import Estimate
from stages.metrics.quality.kernel import GROUPS, kid
from stages.models.chunks import chunks
from stages.models.generator import step_noise
from stages.models.loading import load_generator
from stages.models.unconditional import LabelledNetwork
from stages.randomness import rng
from stages.sampling.loop import Moment
from tuning.training.diffusion.attack import Batch, noised
from tuning.training.diffusion.twins import Probed
from tuning.training.pixels import as_batch
from tuning.training.trial import placed
from tuning.training.zoo.loop import generator

REFERENCES = 2048
"""Pictures of training, at most, that stand for all."""
BATCH = 256


class Step(NamedTuple):
    """A state of the sampler, before the network is asked, beside noisy pictures of the same noise level."""

    time: int
    drawn: Estimate
    """delta_t of what was drawn."""
    unseen: Estimate
    """That of noisy pictures which the model has not seen: nothing can be expected to be nearer."""


class Walked:
    """A trained model, and the states that it passes while it draws."""

    def __init__(self, task: Probed) -> None:
        self.task, self.spec = task, task.probe
        self.model = cast("LabelledNetwork", load_generator(placed(str(task.folder / "model"), task.device)))
        self.signal = self.model.pipe.scheduler.alphas_cumprod

    def states(self) -> dict[int, Batch]:
        """Return what is drawn, one row a picture of the probe and of its class, by time step."""
        source, sampler = self.task.model.data.source, self.spec.walk
        labels = source.load(self.task.model.data.unseen(self.spec.pictures)).labels
        names = [name for name, _ in sorted(self.model.classes.items(), key=lambda item: item[1])]
        found: dict[int, list[Batch]] = {}
        for chunk, real in chunks(range(len(labels)), BATCH):
            passed: dict[int, Batch] = {}

            def keep(moment: Moment, passed: dict[int, Batch] = passed) -> None:
                passed[int(moment.t)] = moment.x.cpu()

            prompts = [names[labels[row]] if names else "" for row in chunk]
            self.model.clean(self._noise(chunk), prompts, sampler, [step_noise(row) for row in chunk], keep)
            for time, x in passed.items():
                found.setdefault(time, []).append(x[:real])
        return {time: torch.cat(parts) for time, parts in found.items()}

    def steps(self) -> list[Step]:
        """Return the discrepancy of every state, and of unseen pictures, to the noisy training pictures."""
        data = self.task.model.data
        known = as_batch(data.source.load(data.rows()[:REFERENCES]))
        other = as_batch(data.source.load(data.unseen(self.spec.pictures)))
        found = []
        for time, x in self.states().items():
            reference, unseen = (self._noisy(clean, time, name) for clean, name in ((known, "known"), (other, "other")))
            found.append(Step(time, kid(rows(x), rows(reference)), kid(rows(unseen), rows(reference))))
        return found

    def _noise(self, chunk: Sequence[int]) -> Batch:
        shape = self.model.latent_shape(None)
        return torch.from_numpy(
            np.stack([rng(row, "latent").standard_normal(shape, dtype=np.float32) for row in chunk])
        )

    def _noisy(self, clean: Batch, time: int, name: str) -> Batch:
        noise = torch.randn(clean.shape, generator=generator(self.spec.seed, f"exposure {name}", time))
        return noised(clean, noise, self.signal[time].expand(len(clean), 1, 1, 1))


def rows(x: Batch) -> np.ndarray:
    """Return one row of pixels a picture; a row that is not finite is left out."""
    flat = x.flatten(1).float().numpy()
    return flat[np.isfinite(flat).all(axis=1)]


def walk(task: Probed) -> None:
    """Measure the exposure bias of the model of a task and write the file `task.walked`."""
    found = Walked(task).steps()
    arrays = {name: np.array([ends(getattr(step, name)) for step in found]) for name in ("drawn", "unseen")}
    partial = task.walked.with_suffix(".partial")
    save_file({"time": np.array([step.time for step in found]), **arrays}, partial)
    partial.replace(task.walked)


def read(task: Probed) -> list[Step]:
    """Return the exposure bias of the model of a task, from the first step of the sampler to its last."""
    held = load_file(task.walked)
    columns = zip(held["time"], held["drawn"], held["unseen"], strict=True)
    return [Step(int(time), estimate(drawn), estimate(unseen)) for time, drawn, unseen in columns]


def ends(found: Estimate) -> tuple[float, float, float, float]:
    """Return what a file keeps of an estimate."""
    return found.value, found.low, found.high, float(found.n)


def estimate(kept: np.ndarray) -> Estimate:
    """Return the estimate that a file keeps."""
    value, low, high, n = map(float, kept)
    return Estimate(value=value, low=low, high=high, n=int(n), method=f"KID of pixels, jackknife over {GROUPS} groups")
