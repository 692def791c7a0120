"""Stages whose every output is known, for laws of pipelines; importable in Ray's workers."""

import os
import signal
from pathlib import Path
from typing import ClassVar

import numpy as np

from stages.base import Spec, Stage, objects


class ToySpec(Spec):
    """How the toy misbehaves."""

    fails_on: tuple[int, ...] = ()
    dies_on: int | None = None
    folder: str = ""
    broken: bool = False


class Draw(Stage[ToySpec]):
    """A picture whose every pixel is the seed, modulo 256; some seeds fail, one kills its process once."""

    reads: ClassVar = ("seed", "error")
    writes: ClassVar = ("image", "error")

    def __init__(self, spec: ToySpec) -> None:
        super().__init__(spec)
        if spec.broken:
            raise ValueError("draw: expected a whole model, found a broken one")

    def transform(self, batch):
        seeds = batch["seed"].tolist()
        if self.spec.dies_on in seeds and not (mark := Path(self.spec.folder) / "died").exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        failed = [seed in self.spec.fails_on for seed in seeds]
        pictures = [
            None if bad else np.full((4, 4, 3), seed % 256, np.uint8) for seed, bad in zip(seeds, failed, strict=True)
        ]
        return {"image": objects(pictures), "error": objects("no" if bad else None for bad in failed)}


class Brightness(Stage[Spec]):
    """The mean of each picture."""

    reads: ClassVar = ("image",)
    writes: ClassVar = ("brightness",)

    def transform(self, batch):
        return {"brightness": np.array([np.nan if i is None else i.mean() for i in batch["image"]], dtype=np.float64)}
