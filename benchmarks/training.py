"""Training: the cost of an attack, of drawing minibatches and of FID, and images per second beside diffusers' script.

    python benchmarks/training.py            # prints; about 10 minutes on 2 cores
    python benchmarks/training.py --write    # also writes docs/benchmarks-training.md

What is compared alternates within one run, so that a machine that grows slower does so for all. `--minibatches` and
`--repeats` make it smaller, to try it; `--device cuda` runs all of it on a GPU.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL.Image
import torch
from typing_extensions import override

from benchmarks.diffusers_script import Script, synchronise
from pipelines.grid import Grid, Seeds
from pipelines.prompts import Prompt
from stages.features import Features, FeaturesSpec
from stages.generate import Generate, GenerateSpec
from stages.metrics.quality.collected import Collected
from stages.models.zoo import world
from stages.perturbations import Control
from stages.sampling import SamplerSpec
from tuning.training.diffusion.perturbations import Adversarial, AnyPerturbation, Unperturbed
from tuning.training.diffusion.recipe import DiffusionRecipe, Draw
from tuning.training.diffusion.settings import DiffusionSpec
from tuning.training.diffusion.twins import GRADIENTS
from tuning.training.networks import UNet
from tuning.training.pictures import TrainingSet, WorldPictures
from tuning.training.settings import Budget
from tuning.training.zoo.loop import Loop

ROOT = Path(__file__).parent.parent
PASSES, SIDE_PX, PICTURES = 3, 16, 4096
GOALS = {"attack": 1.05 * PASSES, "waiting": 0.02, "script": 1.0, "FID": 0.05}
MODEL, EXTRACTOR, DRAWN, CALLS = "zoo:pixel-learned", "zoo:classifier", 96, (5, 10, 20)
Lap = dict[str, list[float]]


def spec(batch: int, perturbation: AnyPerturbation, variance: Literal["fixed", "learned_range"]) -> DiffusionSpec:
    """Return the settings of a training that never ends; those with a fixed variance are what diffusers' script has."""
    world = WorldPictures(side_px=SIDE_PX, count=PICTURES, classes=variance != "fixed")
    return DiffusionSpec(
        network=UNet(),
        data=TrainingSet(source=world),
        budget=Budget(pictures=10**9, batch=batch, learning_rate=1e-4, warmup=500 * batch, checkpoint=10**9),
        schedule="linear" if variance == "fixed" else "cosine",
        variance=variance,
        perturbation=perturbation,
    )


class Watched(DiffusionRecipe):
    """A training that knows how long it waited for its minibatches."""

    waited = 0.0

    @override
    def draw(self, step: int) -> Draw:
        start = time.monotonic()
        found = super().draw(step)
        self.waited += time.monotonic() - start
        return found


class Ours:
    """A training of the package."""

    def __init__(self, settings: DiffusionSpec, device: str, folder: Path) -> None:
        self.recipe = Watched(settings, device)
        self.loop = Loop(self.recipe, settings.loop, folder / "checkpoint.pt")

    def __call__(self, minibatches: int) -> float:
        """Train on so many more; return the seconds that one took."""
        self.recipe.waited, start = 0.0, time.monotonic()
        self.loop.run(self.loop.step + minibatches)
        synchronise()
        return (time.monotonic() - start) / minibatches


def attacks(minibatches: int, repeats: int, batch: int, device: str, folder: Path) -> tuple[Lap, list[float]]:
    """Return the seconds a minibatch takes without and with an attack, and plain training's share of waiting."""
    kinds: dict[str, AnyPerturbation] = {"plain": Unperturbed()}
    for gradient in GRADIENTS:
        kinds[f"adversarial, K = {PASSES}, {gradient} gradient"] = Adversarial(passes=PASSES, gradient=gradient)
    ways = {
        name: Ours(spec(batch, kind, "learned_range"), device, folder / str(number))
        for number, (name, kind) in enumerate(kinds.items())
    }
    waiting: list[float] = []

    def watch(name: str) -> None:
        if name == "plain":
            waiting.append(ways[name].recipe.waited / (minibatches * found[name][-1]))

    found: Lap = {}
    alternate(ways, minibatches, repeats, found, watch)
    return found, waiting


def scripts(minibatches: int, repeats: int, batch: int, device: str, folder: Path) -> Lap:
    """Return the seconds a minibatch takes here and in diffusers' script: same network, pictures and loss."""
    ours = Ours(spec(batch, Unperturbed(), "fixed"), device, folder / "ours")
    pictures = folder / "pictures"
    pictures.mkdir()
    for number, image in enumerate(ours.recipe.pictures.images):
        PIL.Image.fromarray(image).save(pictures / f"{number:05d}.png")
    script = Script(deepcopy(ours.recipe.module), batch, pictures, SIDE_PX, device)
    found: Lap = {}
    alternate({"seedquake": ours, "diffusers' script": script}, minibatches, repeats, found)
    return found


def alternate(
    ways: "dict[str, Any]", minibatches: int, repeats: int, found: Lap, watch: Callable[[str], None] = lambda _: None
) -> None:
    """Run every way in turn; the first turn builds what later ones use and does not count."""
    for way in ways.values():
        way(2)
    for repeat in range(repeats):
        for name, way in ways.items():
            found.setdefault(name, []).append(way(minibatches))
            print(f"{repeat + 1}/{repeats}, {name}: {1000 * found[name][-1]:.1f} ms a minibatch", flush=True)
            watch(name)


def judging(repeats: int, device: str) -> dict[int, dict[str, list[float]]]:
    """Return the seconds for one batch by calls of the network: drawing, features, and adding them up."""
    draw = Generate(GenerateSpec(model=MODEL, batch=DRAWN, device=device))
    judge = Features(FeaturesSpec(model=EXTRACTOR, batch=DRAWN, device=device))
    found: dict[int, dict[str, list[float]]] = {calls: {} for calls in CALLS}
    for repeat in range(-1, repeats):
        for calls, laps in found.items():
            for name, seconds in batch_of(draw, judge, calls).items():
                if repeat >= 0:
                    laps.setdefault(name, []).append(seconds)
    return found


def batch_of(draw: Generate, judge: Features, calls: int) -> dict[str, float]:
    """Draw one batch and count it in, each with its seconds."""
    sampler = SamplerSpec(scheduler="ddim", steps=calls, guidance=1.0)
    grid = Grid(
        model=MODEL,
        revision=draw.revision,
        prompts=(Prompt("a photo of a red star", world.CLASSES.index("star"), "star"),),
        seeds=Seeds(count=DRAWN),
        perturbations=(Control().canonical(),),
        samplers=(sampler.canonical(),),
    )
    rows = grid.rows(np.arange(DRAWN))
    laps = [time.monotonic()]
    drawn = draw(rows)
    laps.append(time.monotonic())
    seen = judge(drawn)
    laps.append(time.monotonic())
    collected = Collected(20, 5000)
    collected.add(np.arange(DRAWN), np.stack(list(seen["features"])), np.stack(list(seen["probabilities"])))
    laps.append(time.monotonic())
    return dict(zip(("drawing", "features", "adding up"), np.diff(laps).tolist(), strict=True))


def spread(values: list[float], digits: int = 2) -> str:
    """Median and range."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def verdict(value: float, goal: float, *, at_most: bool = True) -> str:
    """Whether a goal is met."""
    return "met" if (value <= goal if at_most else value >= goal) else "missed"


def attack_lines(found: Lap, waiting: list[float]) -> Iterator[str]:
    """Yield the table of what an attack costs, and the share of waiting."""
    plain = np.array(found["plain"])
    yield from ["| training | ms a minibatch | plain minibatches |", "| --- | --- | --- |"]
    worst = 0.0
    for name, seconds in found.items():
        ratios = (np.array(seconds) / plain).tolist()
        worst = max(worst, statistics.median(ratios))
        yield f"| {name} | {spread([1000 * s for s in seconds], 1)} | {spread(ratios)} |"
    yield ""
    yield (
        f"The goal, {PASSES} passes for at most {GOALS['attack']:g} plain minibatches, is "
        f"{verdict(worst, GOALS['attack'])}."
    )
    share = statistics.median(waiting)
    yield (
        f"Plain training waits for its minibatch (pictures, noise, time steps, classes) {100 * share:.2f} % of the "
        f"time ({100 * min(waiting):.2f} to {100 * max(waiting):.2f}); the goal, at most "
        f"{100 * GOALS['waiting']:g} %, is {verdict(share, GOALS['waiting'])}."
    )


def script_lines(found: Lap, batch: int) -> Iterator[str]:
    """Yield the table of images per second."""
    theirs = np.array(found["diffusers' script"])
    yield from ["| training | images/s | times the script's |", "| --- | --- | --- |"]
    for name, seconds in found.items():
        yield f"| {name} | {spread([batch / s for s in seconds], 1)} | {spread((theirs / np.array(seconds)).tolist())} |"
    ratio = statistics.median((theirs / np.array(found["seedquake"])).tolist())
    yield from ["", f"The goal, at least as many, is {verdict(ratio, GOALS['script'], at_most=False)}."]


def judging_lines(found: dict[int, dict[str, list[float]]]) -> Iterator[str]:
    """Yield the table of what FID costs beside drawing."""
    yield from [
        "| calls | drawing, ms | features, % of drawing | adding up, % of drawing |",
        "| --- | --- | --- | --- |",
    ]
    sums = []
    for calls, laps in found.items():
        drawing = np.array(laps["drawing"])
        shares = {name: (100 * np.array(laps[name]) / drawing).tolist() for name in ("features", "adding up")}
        sums.append(statistics.median(shares["adding up"]))
        cells = f"{spread(shares['features'])} | {spread(shares['adding up'])}"
        yield f"| {calls} | {spread((1000 * drawing).tolist(), 0)} | {cells} |"
    goal = 100 * GOALS["FID"]
    yield from ["", f"The goal, adding up within {goal:g} % of drawing, is {verdict(max(sums), goal)}."]


def page(minibatches: int, repeats: int, batch: int, device: str) -> str:
    """Return the text of docs/benchmarks-training.md."""
    load = os.getloadavg()[0]
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    with tempfile.TemporaryDirectory() as folder:
        cost = attacks(minibatches, repeats, batch, device, Path(folder))
        rates = scripts(minibatches, repeats, batch, device, Path(folder))
    lines = [
        "# Benchmark: training",
        "",
        f"`.venv/bin/python benchmarks/training.py` on {os.cpu_count()} cores, {name}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}, with a load of {load:.1f} before.",
        f"Medians and ranges of {repeats} alternating runs of {minibatches} minibatches of {batch}: a U-Net of width 32 on {SIDE_PX} x {SIDE_PX} pictures, as in `adversarial_small`, {torch.get_num_threads()} thread(s).",
        "",
        "## What an attack costs",
        "",
        *attack_lines(*cost),
        "",
        "## Beside diffusers' script",
        "",
        "The other way is the loop of diffusers' `train_unconditional.py` made of the library's own parts: `datasets`,",
        "torchvision's transforms, `accelerate`, `EMAModel`; one process loads the pictures, as is its default. Same",
        "network, pictures, loss (fixed variance, linear schedule) and size of minibatch.",
        "",
        *script_lines(rates, batch),
        "",
        "## What FID costs",
        "",
        f"Batches of {DRAWN} pictures of `{MODEL}` by DDIM, features of `{EXTRACTOR}`, 20 groups.",
        "",
        *judging_lines(judging(repeats, device)),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks-training.md")
    parser.add_argument("--minibatches", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch; one is what a trial gets")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    text = page(given.minibatches, given.repeats, given.batch, given.device)
    print(text)
    if given.write:
        (ROOT / "docs" / "benchmarks-training.md").write_text(text)
