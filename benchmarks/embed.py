"""Pictures per second of Embed, side by side with what a user would do instead.

    python benchmarks/embed.py            # prints; about a minute on 2 cores
    python benchmarks/embed.py --write    # also writes docs/benchmarks-embed.md

The ways alternate within one run, so that a machine that grows slower does so for all.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torchvision import transforms

from stages.base import objects
from stages.embed import Embed, EmbedSpec
from stages.models import zoo
from stages.models.descriptors.gem import load_gem
from stages.models.zoo import world

ROOT = Path(__file__).parent.parent
BATCH = 32
REPEATS = 5
PICTURES = {64: 1024, 16: 1024}
"""Sides in pixels, and how many pictures of that side one run embeds."""


def pictures(side: int, count: int) -> list[np.ndarray]:
    renders = [PIL.Image.fromarray(p) for p in world.render(range(world.HELD_OUT, world.HELD_OUT + count))]
    return [np.asarray(p.resize((side, side), PIL.Image.Resampling.BOX)) for p in renders]


def ways() -> dict[str, Callable[[list[np.ndarray]], object]]:
    together, alone = (Embed(EmbedSpec(model="zoo:descriptor", batch=batch)) for batch in (BATCH, 1))
    return {
        f"`Embed`, batches of {BATCH}": lambda images: together({"image": objects(images)}),
        "`Embed`, one picture at a time": lambda images: [alone({"image": objects([i])}) for i in images],
        f"a timm network in a plain loop, batches of {BATCH}": plain_loop(),
    }


def plain_loop() -> Callable[[list[np.ndarray]], object]:
    """The usual script: torchvision's transform of each picture, then the network."""
    network, spec = load_gem(zoo.path("descriptor"))
    network.eval()
    steps = [transforms.Resize(spec.input_size[1:]), transforms.ToTensor(), transforms.Normalize(spec.mean, spec.std)]
    transform = transforms.Compose(steps)

    @torch.inference_mode()
    def embed(images: list[np.ndarray]) -> list[torch.Tensor]:
        batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
        return [network(torch.stack([transform(PIL.Image.fromarray(i)) for i in batch])) for batch in batches]

    return embed


def rates(side: int) -> dict[str, list[float]]:
    images, found = pictures(side, PICTURES[side]), {}
    candidates = ways()
    for way in candidates.values():
        way(images[:BATCH])  # the first call builds what later ones use
    for repeat in range(REPEATS):
        for name, way in candidates.items():
            start = time.monotonic()
            way(images)
            found.setdefault(name, []).append(len(images) / (time.monotonic() - start))
            print(f"{side} px, {repeat + 1}/{REPEATS}, {name}: {found[name][-1]:.0f} pictures/s", flush=True)
    return found


def spread(values: list[float], digits: int = 0) -> str:
    """Median and range."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(found: dict[str, list[float]]) -> list[str]:
    ours = np.array(next(iter(found.values())))
    lines = ["| way | pictures/s | batches are faster by |", "| --- | --- | --- |"]
    return lines + [
        f"| {name} | {spread(values)} | {spread((ours / np.array(values)).tolist(), 2)} |"
        for name, values in found.items()
    ]


def page() -> str:
    machine = (
        f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}, Python {platform.python_version()}"
    )
    load = os.getloadavg()[0]
    lines = [
        "# Benchmark: descriptors",
        "",
        f"`.venv/bin/python benchmarks/embed.py` on {machine}, {time.strftime('%Y-%m-%d')}, with a load of {load:.1f} before.",
        f"Medians and ranges of {REPEATS} alternating runs of `zoo:descriptor`, {torch.get_num_threads()} thread(s).",
    ]
    for side in PICTURES:
        lines += ["", f"## Pictures of {side} x {side}", "", *table(rates(side))]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks-embed.md")
    write = parser.parse_args().write
    text = page()
    print(text)
    if write:
        (ROOT / "docs" / "benchmarks-embed.md").write_text(text)
