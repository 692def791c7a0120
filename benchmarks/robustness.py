"""Speed and memory of the robustness sweep, side by side with what a user would do instead.

    python benchmarks/robustness.py            # prints; about 20 minutes on 2 cores
    python benchmarks/robustness.py --write    # also writes docs/benchmarks.md

Three ways to draw and judge the same pictures alternate within one run, so that a machine that grows slower does so for
all: the pipeline, one hand-written batched loop, and the usual research script with one picture at a time.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
SAMPLER = {"scheduler": "ddim", "steps": 20, "guidance": 4.0}
BATCH = 32
REPEATS = 5
PROMPTS = [
    f"a photo of a {colour} {thing}" for colour in ("red", "blue") for thing in ("star", "house", "tree", "fish")
]


def pipeline_rate(images: int = 1152) -> float:
    """Images per second of the pipeline at steady state: after the first batch of each actor.

    So many that the end, when one actor has nothing left to draw, weighs little.
    """
    overrides = [
        "perturbations=[{kind: uniform_mean_shift, shift: 0.1}]",
        f"sampler={json.dumps(SAMPLER)}",
        "prompts.values.colour=[red, blue]",
        f"seeds.count={images // 48}",
        f"run.batch_size={BATCH}",
    ]
    with tempfile.TemporaryDirectory() as folder:
        code = (
            "import json, time\n"
            "from pipelines import cluster, config, robustness, rows, run, store\n"
            f"spec = config.load(robustness.RobustnessSpec, 'robustness_demo', {[*overrides, f'run.output={folder}']!r})\n"
            "asked = robustness.Robustness(spec)\n"
            "cluster.connect(spec.run, [asked.generation])\n"
            "times = []\n"
            "work = run.work(asked.grid, rows.done(store.Store(spec.store), asked.grid), spec.run.batch_size)\n"
            "watch = lambda tally: times.append((time.monotonic(), tally.done))\n"
            "run.execute(asked.generation, work, len(asked.grid), spec.run, watch)\n"
            "(start, before), (end, after) = times[spec.run.generate.actors - 1], times[-1]\n"
            "print(json.dumps((after - before) / (end - start)))\n"
        )
        return float(python(code))


def loop_rate(images: int = 96) -> float:
    """Images per second of one hand-written batched loop with the same models, in one process with all cores."""
    code = LOADING + (
        f"def draw(prompts):\n"
        f"    latents = torch.randn({BATCH}, 4, 16, 16)\n"
        "    pictures = pipe(prompt=prompts, latents=latents, num_inference_steps=20, guidance_scale=4.0, output_type='pt').images\n"
        "    judge_all(pictures, prompts)\n"
        f"batch = (prompts * {BATCH})[:{BATCH}]\n"
        "draw(batch)\n"
        "start = time.monotonic()\n"
        f"for _ in range({images // BATCH}): draw(batch)\n"
        f"print(json.dumps({images // BATCH * BATCH} / (time.monotonic() - start)))\n"
    )
    return float(python(code))


def script_rate(images: int = 48) -> float:
    """Images per second of the usual script: one prompt, one picture, one call of each judge at a time."""
    code = LOADING + (
        "def draw(prompt):\n"
        "    pictures = pipe(prompt=prompt, num_inference_steps=20, guidance_scale=4.0, output_type='pt').images\n"
        "    judge_all(pictures, [prompt])\n"
        "draw(prompts[0])\n"
        "start = time.monotonic()\n"
        f"for i in range({images}): draw(prompts[i % len(prompts)])\n"
        f"print(json.dumps({images} / (time.monotonic() - start)))\n"
    )
    return float(python(code))


LOADING = f"""
import json, time, torch, timm, open_clip, numpy as np
from diffusers import StableDiffusionPipeline
from stages.models import zoo
from stages.appearance import measure
from pipelines.save import png
pipe = StableDiffusionPipeline.from_pretrained(zoo.path('text-to-image'))
pipe.set_progress_bar_config(disable=True)
judges = [timm.create_model(f"local-dir:{{zoo.path(n)}}", pretrained=True).eval() for n in ('classifier', 'judge')]
clip, _, _ = open_clip.create_model_and_transforms(f"local-dir:{{zoo.path('clip')}}")
tokenizer = open_clip.get_tokenizer(f"local-dir:{{zoo.path('clip')}}")
prompts = {PROMPTS!r}
@torch.inference_mode()
def judge_all(pictures, prompts):
    for judge in judges: judge(pictures * 2 - 1).softmax(1).topk(5)
    image = torch.nn.functional.normalize(clip.encode_image(pictures), dim=1)
    text = torch.nn.functional.normalize(clip.encode_text(tokenizer(prompts)), dim=1)
    (image * text).sum(1)
    for picture in (pictures * 255).byte().permute(0, 2, 3, 1).numpy(): measure(picture), png(picture)
"""


def first_row() -> dict[str, float]:
    """Seconds from the command to the first stored row, and where they go."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            str(Path(sys.executable).parent / "seedquake"),
            "robustness",
            "robustness_demo",
            f"run.output={folder}",
        ]
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
        samples = Path(folder) / "store" / "samples"
        while process.poll() is None and not list(samples.glob("part-*.parquet")):
            time.sleep(0.02)
        total = time.monotonic() - start
        process.terminate()
        process.wait()
    return {"command to first row": total, **json.loads(python(PHASES))}


PHASES = """
import json, time
start = time.monotonic(); times = {}
def lap(name):
    global start
    times[name], start = time.monotonic() - start, time.monotonic()
from pipelines import ask, cluster, config, plan, robustness, tracking
import tempfile
folder = tempfile.mkdtemp()
asked = robustness.Robustness(config.load(robustness.RobustnessSpec, 'robustness_demo', [f'run.output={folder}']))
plan.plan(asked)
lap('  imports, config, checksums')
cluster.connect(asked.spec.run, [asked.generation])
lap('  Ray')
tracking.open_store(tracking.address(None, folder), 'seedquake')
tracking.Tracker('x', 'robustness').leave('KILLED')
lap('  MLflow')
import torch, timm, open_clip
from diffusers import StableDiffusionPipeline
lap('  libraries of one actor')
from stages.generate import Generate
from pipelines.pipeline import Worker
worker = Worker(asked.generation.steps, ('number',))
lap('  weights of one actor')
import numpy as np
from pipelines.columns import pack
torch.set_num_threads(1)
worker(pack(asked.grid.rows(np.arange(asked.spec.run.batch_size))))
lap('  first batch')
print(json.dumps(times))
"""


def driver_mib(rows: int) -> float:
    """Peak memory of the driver that plans `rows` rows and streams them through one actor that does nothing."""
    code = f"""
import resource
from benchmarks.nothing import Nothing
from pipelines import cluster, config, plan, robustness, run
from pipelines.pipeline import Pipeline, Step
from pipelines.rows import done
from pipelines.store import Store
from stages.base import Spec
import tempfile
overrides = ['prompts.values.colour=[red]', 'perturbations=[{{kind: slerp, fraction: 0.1}}]', 'seeds.count={rows // 24}']
spec = config.load(robustness.RobustnessSpec, 'robustness_demo', [*overrides, f'run.output={{tempfile.mkdtemp()}}'])
asked = robustness.Robustness(spec)
plan.plan(asked)
nothing = Pipeline('nothing', Step(Nothing, Spec()), keep=('number', 'error'))
cluster.connect(spec.run, [nothing])
bits = done(Store(spec.store), asked.grid)
settings = spec.run.model_copy(update={{'batch_size': 1024}})
tally = run.execute(nothing, run.work(asked.grid, bits, 1024), len(asked.grid), settings, lambda _: None)
assert tally.done == len(asked.grid)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
    return float(python(code))


def environment() -> dict[str, str]:
    """The environment of every measured process."""
    return {**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT)}


def python(code: str) -> str:
    """Run code in a process of its own and return the last line that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return done.stdout.strip().splitlines()[-1]


def spread(values: list[float], digits: int = 1) -> str:
    """Median and range."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def throughput() -> list[str]:
    """The table of images per second."""
    ways: dict[str, Callable[[], float]] = {
        "pipeline, 2 actors": pipeline_rate,
        "one hand-written batched loop": loop_rate,
        "one picture at a time": script_rate,
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(REPEATS):
        for name, way in ways.items():
            rates[name].append(way())
            print(f"{repeat + 1}/{REPEATS} {name}: {rates[name][-1]:.2f} images/s", flush=True)
    ours = np.array(rates["pipeline, 2 actors"])
    lines = ["| way | images/s | pipeline is faster by |", "| --- | --- | --- |"]
    for name, values in rates.items():
        lines.append(f"| {name} | {spread(values, 2)} | {spread((ours / np.array(values)).tolist(), 2)} |")
    return lines


def start_up() -> list[str]:
    """The table of where the time to the first row goes."""
    found = [first_row() for _ in range(REPEATS)]
    lines = ["| phase | seconds |", "| --- | --- |"]
    return lines + [f"| {name.strip()} | {spread([f[name] for f in found])} |" for name in found[0]]


def memory() -> list[str]:
    """The table of the driver's peak memory."""
    lines = ["| planned and streamed rows | driver, MiB |", "| --- | --- |"]
    for exponent in (3, 4, 5, 6):
        lines.append(f"| 10^{exponent} | {spread([driver_mib(10**exponent)], 0).partition(' ')[0]} |")
        print(lines[-1], flush=True)
    return lines


def page(throughput: list[str], start_up: list[str], memory: list[str]) -> str:
    """The text of docs/benchmarks.md."""
    machine = (
        f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}, Python {platform.python_version()}"
    )
    return "\n".join(
        [
            "# Benchmarks",
            "",
            f"`make bench` on {machine}, {time.strftime('%Y-%m-%d')}. Medians and ranges of {REPEATS} alternating runs.",
            "",
            "## Images per second",
            "",
            "The embedded text-to-image model (20 DDIM steps, guidance 4, batches of 32), classifier, judge, CLIP and appearance",
            "on the same prompts. Every way also encodes the PNG.",
            "",
            *throughput,
            "",
            "## From the command to the first stored row",
            "",
            "The phases below the total were measured one after the other in one process; in the command, actors start while",
            "others do, and two actors share the cores.",
            "",
            *start_up,
            "",
            "## Memory of the driver",
            "",
            "Peak resident memory while planning, then streaming every row through an actor that does nothing.",
            "",
            *memory,
            "",
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    write = parser.parse_args().write
    text = page(throughput(), start_up(), memory())
    print(text)
    if write:
        (ROOT / "docs" / "benchmarks.md").write_text(text)
