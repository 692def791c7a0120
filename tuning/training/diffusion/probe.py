"""The errors of a trained model on pictures that it has not seen: untouched, attacked, moved as far at random."""

from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float32
from safetensors.numpy import load_file, save_file
from torch import Tensor

from stages.models.loading import load_generator
from stages.models.unconditional import LabelledNetwork
from tuning.training.diffusion.attack import Batch, Denoiser, attack, direction, noised, objective, projected
from tuning.training.diffusion.twins import GRADIENTS, Probed
from tuning.training.pixels import Labels, as_batch, as_function
from tuning.training.trial import placed
from tuning.training.zoo.loop import generator

BATCH = 128


class Prober:
    """A trained model, pictures that it has not seen, and what is done to them."""

    def __init__(self, task: Probed) -> None:
        self.spec, self.device = task.probe, task.device
        loaded = cast("LabelledNetwork", load_generator(placed(str(task.folder / "model"), task.device)))
        self.network = as_function(cast("Any", loaded.network).eval())
        self.signal: Tensor = loaded.pipe.scheduler.alphas_cumprod
        data = task.model.data
        pictures = data.source.load(data.unseen(self.spec.pictures))
        self.clean, self.label = as_batch(pictures), torch.from_numpy(pictures.labels)

    def errors(self, time: int) -> dict[str, Float32[np.ndarray, " n"]]:
        """Return each picture's error at a time step, by what was done to it."""
        drawn = (
            torch.randn(self.clean.shape, generator=generator(self.spec.seed, name, time)) for name in ("noise", "way")
        )
        batches = zip(*(x.split(BATCH) for x in (self.clean, *drawn, self.label)), strict=True)
        parts = [self._part(time, *(x.to(self.device) for x in batch)) for batch in batches]
        return {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in parts[0]}

    def _part(self, time: int, clean: Batch, noise: Batch, way: Batch, label: Labels) -> dict[str, Tensor]:
        how = self.spec.attack
        signal = self.signal[time].to(self.device).expand(len(clean), 1, 1, 1)
        noisy, denoise = noised(clean, noise, signal), self._sees(time, label)
        found: dict[str, Tensor] = {}
        for gradient in GRADIENTS:
            error = objective(denoise, noisy, noise, signal, gradient)
            _, found["clean"], found[gradient] = attack(error, noisy, how)
        length = (how.passes - 1) * how.step
        with torch.no_grad():
            found["random"] = error(projected(length * direction(way, how.norm), how.max_norm, how.norm))
        return found

    def _sees(self, time: int, label: Labels) -> Denoiser:
        def denoise(x: Batch) -> Batch:
            return self.network(x, torch.full((len(x),), time, device=x.device), label)[:, : x.shape[1]].float()

        return denoise


def probe(task: Probed) -> None:
    """Measure the model of a task and write the file `task.measured`: errors [levels n] by what was done."""
    prober = Prober(task)
    rows = [prober.errors(time) for time in levels(len(prober.signal), task.probe.levels)]
    partial = task.measured.with_suffix(".partial")
    save_file({name: np.stack([row[name] for row in rows]) for name in rows[0]}, partial)
    partial.replace(task.measured)


def read(task: Probed) -> dict[str, Float32[np.ndarray, "levels n"]]:
    """Return the errors of the model of a task."""
    return load_file(task.measured)


def levels(steps: int, count: int) -> list[int]:
    """Return the middles of equal stretches of the noise schedule."""
    return [(2 * number + 1) * steps // (2 * count) for number in range(count)]
