"""A question about toys, on real actors and a real store: every picture is known, and some rows are poison."""

import ctypes
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from pipelines.grid import Grid, Seeds
from pipelines.measure import Measure
from pipelines.pipeline import Step
from pipelines.prompts import Prompt
from pipelines.question import Draw, Question, QuestionSpec
from pipelines.rows import stored
from pipelines.run import RunSpec
from pipelines.save import decode
from pipelines.store import Store
from pipelines.sweep import Swept, sweep
from stages.base import Spec, Stage, objects


class PoisonSpec(Spec):
    """The seeds whose rows end their process, and how."""

    crash: tuple[int, ...] = ()
    hang: tuple[int, ...] = ()
    stick: tuple[int, ...] = ()
    """Hang without giving back the interpreter's lock."""
    devour: tuple[int, ...] = ()
    """Take memory until the process is ended."""
    batch_s: float = 0.0
    log: str = ""
    """Folder where each process has a file of its number, with a line for each batch that it began."""

    def act(self, seeds: set[int]) -> None:
        """Do what the seeds ask for."""
        if self.log:
            with Path(self.log, str(os.getpid())).open("a") as file:
                file.write(f"{sorted(seeds)}\n")
        if seeds & {*self.crash}:
            ctypes.string_at(0)  # a signal sent by the process would go to any of its threads
        while seeds & {*self.hang}:
            time.sleep(1)
        if seeds & {*self.stick}:
            ctypes.PyDLL(None).sleep(3600)
        eaten = []
        while seeds & {*self.devour}:
            eaten.append(np.ones(2**24))
        time.sleep(self.batch_s)


class Toy(Stage[PoisonSpec]):
    """A picture whose every pixel is the seed, modulo 256."""

    reads: ClassVar = ("seed", "error")
    writes: ClassVar = ("image", "latent_mean_z", "latent_norm_z", "latent_ks_p", "truncated", "error")

    def transform(self, batch):
        fine = [error is None for error in batch["error"]]
        self.spec.act(set(batch["seed"][fine].tolist()))
        image = [
            np.full((4, 4, 3), s % 256, np.uint8) if ok else None for s, ok in zip(batch["seed"], fine, strict=True)
        ]
        numbers = np.where(fine, batch["seed"], np.nan)
        z = dict.fromkeys(("latent_mean_z", "latent_norm_z", "latent_ks_p"), numbers)
        return {"image": objects(image), **z, "truncated": objects([None] * len(fine)), "error": batch["error"]}


class Shade(Stage[PoisonSpec]):
    """The mean of each picture."""

    reads: ClassVar = ("image", "seed")
    writes: ClassVar = ("shade",)

    def transform(self, batch):
        seen = [image is not None for image in batch["image"]]
        if "seed" in batch:  # not where stored pictures are measured
            self.spec.act(set(batch["seed"][seen].tolist()))
        return {"shade": np.array([np.nan if image is None else image.mean() for image in batch["image"]])}


HARMLESS = PoisonSpec()


@dataclass(frozen=True)
class ToyDraw(Draw):
    poison: PoisonSpec = HARMLESS

    def drawing(self, record):  # noqa: ARG002
        return Step(Toy, self.poison, self.run.generate)


class Toys(Question[QuestionSpec]):
    """So many rows, some of which are poison where they are drawn, others where they are measured."""

    def __init__(self, run: RunSpec, rows: int, drawn: PoisonSpec = HARMLESS, measured: PoisonSpec = HARMLESS):
        super().__init__(QuestionSpec(question="toys", name="toys", run=run))
        prompts = (Prompt("a", 0, "a"),)
        grid = Grid("toy", "r", prompts, Seeds(count=rows, shared=True), ("{}",), ("{}",))
        measure = Measure(Shade, measured, apart=frozenset(PoisonSpec.model_fields), compute=run.measure)
        self.draw = ToyDraw("toys", "toy", (grid,), run, self.spec.store, (measure,), poison=drawn)

    @property
    def draws(self):
        return (self.draw,)

    @property
    def models(self):
        return ()

    def page(self, swept, watch):
        raise NotImplementedError

    def sweep(self) -> Swept:
        return sweep(self, lambda *_: None)

    def rows(self) -> dict[int, tuple[int | None, str | None, float | None]]:
        """Return pixel, error and shade by row number; every row that is stored is stored once."""
        store, (measure,) = Store(self.spec.store), self.draw.measures
        data = store.dataset(measure.table)
        shades = list(pairs(data.to_table().to_pylist() if data else []))
        found = [
            (number, row["sample_id"], pixel(row["image"]), row["error"])
            for numbers, batch in stored(store, self.draw.grid, ["sample_id", "image", "error"])
            for number, row in zip(numbers.tolist(), batch.to_pylist(), strict=True)
        ]
        for names in ([number for number, *_ in found], [name for name, _ in shades]):
            assert len(set(names)) == len(names), "a row is stored twice"
        shade = dict(shades)
        return {number: (value, error, shade.get(name)) for number, name, value, error in found}


def pairs(rows: list[dict]) -> Iterator[tuple[str, float | None]]:
    for row in rows:
        yield row["sample_id"], row["shade"]


def pixel(image: dict | None) -> int | None:
    """Return the value of a picture of one value."""
    if image is None:
        return None
    values = set(decode(image["bytes"]).ravel().tolist())
    assert len(values) == 1
    return values.pop()


def uninterrupted(rows: int) -> dict[int, tuple[int | None, str | None, float | None]]:
    """Return what is stored of so many rows when nothing fails."""
    return {number: (number % 256, None, number % 256) for number in range(rows)}
