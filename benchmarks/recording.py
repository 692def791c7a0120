"""Images per second of Generate with trajectories recorded, side by side with the same rows unwatched.

    python benchmarks/recording.py            # prints; about 5 minutes on 2 cores
    python benchmarks/recording.py --write    # also writes docs/benchmarks-recording.md

The ways alternate within one run, so that a machine that grows slower does so for all. `--images` and `--repeats` make
it smaller, to try it.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from pipelines.columns import schema_of, table
from pipelines.store import Store
from stages.base import Batch, objects
from stages.generate import Generate, GenerateSpec
from stages.models.source import fingerprint
from stages.perturbations import UniformMeanShift
from stages.sampling import SamplerSpec
from stages.sampling.recording import Recording
from stages.sampling.trajectory import fit_plane, save_plane

ROOT = Path(__file__).parent.parent
MODEL = "zoo:text-to-image"
SAMPLER = SamplerSpec(scheduler="ddim", steps=20, guidance=4.0)
BATCH = 32
GOAL = 1.1
"""The default columns may cost a tenth."""


def rows(count: int) -> Batch:
    texts = {
        "model": MODEL,
        "revision": fingerprint(MODEL),
        "prompt": "a photo of a red star",
        "perturbation": UniformMeanShift(shift=0.4).canonical(),
        "sampler": SAMPLER.canonical(),
    }
    columns = {name: objects([text] * count) for name, text in texts.items()}
    ids = objects(f"{number:032x}" for number in range(count))
    return columns | {"seed": np.arange(count), "error": objects([None] * count), "sample_id": ids}


def recordings(folder: Path) -> dict[str, Recording | None]:
    save_plane(fit_plane(torch.randn(4, 21, 1024, generator=torch.Generator().manual_seed(0))), folder / "plane.npy")
    return {
        "unwatched": None,
        "step lengths (the default)": Recording(),
        "and projections, channel means": Recording(plane=str(folder / "plane.npy"), channels=True),
        "and the control beside": Recording(control=True, plane=str(folder / "plane.npy"), channels=True),
    }


def way(record: Recording | None, folder: Path) -> Callable[[Batch], None]:
    """Draw, and store what was recorded, as the sweep does; encoding the picture is the same for all and left out."""
    stage, store = Generate(GenerateSpec(model=MODEL, batch=BATCH, record=record)), Store(str(folder))

    def draw(batch: Batch) -> None:
        drawn = stage(batch)
        if record is not None:
            store.write("trajectory", table(drawn, schema_of(record.writes())))

    return draw


def rates(images: int, repeats: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        candidates = {name: way(record, Path(place)) for name, record in recordings(Path(place)).items()}
        batch = rows(images)
        for draw in candidates.values():
            draw({name: column[:BATCH] for name, column in batch.items()})  # the first call builds what later ones use
        for repeat in range(repeats):
            for name, draw in candidates.items():
                start = time.monotonic()
                draw(batch)
                found.setdefault(name, []).append(images / (time.monotonic() - start))
                print(f"{repeat + 1}/{repeats}, {name}: {found[name][-1]:.2f} images/s", flush=True)
    return found


def spread(values: list[float], digits: int = 2) -> str:
    """Median and range."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def page(images: int, repeats: int) -> str:
    load, machine = os.getloadavg()[0], platform.processor() or platform.machine()
    found = rates(images, repeats)
    plain = np.array(found["unwatched"])
    ratios = {name: (plain / np.array(values)).tolist() for name, values in found.items()}
    default = statistics.median(ratios["step lengths (the default)"])
    verdict = "met" if default <= GOAL else "missed"
    lines = [
        "# Benchmark: recording trajectories",
        "",
        f"`.venv/bin/python benchmarks/recording.py` on {os.cpu_count()} cores, {machine}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}, with a load of {load:.1f} before.",
        f"Medians and ranges of {repeats} alternating runs of {images} images, `{MODEL}`, {SAMPLER.steps} DDIM steps, guidance {SAMPLER.guidance:g}, batches of {BATCH}, {torch.get_num_threads()} thread(s).",
        "",
        "| recorded | images/s | unwatched is faster by |",
        "| --- | --- | --- |",
        *[f"| {name} | {spread(values)} | {spread(ratios[name], 3)} |" for name, values in found.items()],
        "",
        f"The default columns cost a factor of {default:.3f} in the median; the goal, at most {GOAL:g}, is {verdict}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks-recording.md")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    text = page(arguments.images, arguments.repeats)
    print(text)
    if arguments.write:
        (ROOT / "docs" / "benchmarks-recording.md").write_text(text)
