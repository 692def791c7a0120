"""SAGE's search over latents: pictures, seconds and memory, side by side with random search and full back-propagation.

    python benchmarks/sage.py            # prints; about 20 minutes on 2 cores
    python benchmarks/sage.py --write    # also writes docs/benchmarks-sage.md

Every way searches the same attempts. A control draws as many pictures for each as the first way's search took.
`--attempts`, `--iterations` and `--repeats` make it smaller, to try it.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipelines.report import interval
from stages.metrics import Estimate, proportion_difference
from stages.models.loading import load_generator
from stages.models.spec import ModelSpec
from stages.models.zoo import world
from stages.sampling.gradients import Adjoint, AnyGradient, Full, Residual, pictures
from stages.sampling.spec import SamplerSpec
from tuning.sage.latent import Attempt, LatentSearch, LatentSearchSpec, success_rate
from tuning.sage.latents.controls import FreshSeeds, RandomPerturbations, RandomSearch
from tuning.sage.surrogate import ClassifierMember, ClipMember, Surrogate, SurrogateSpec, load_surrogate

ROOT = Path(__file__).parent.parent
MODEL = "zoo:text-to-image"
SAMPLER = SamplerSpec(scheduler="ddim", steps=20, guidance=4.0)
ENSEMBLE = SurrogateSpec(
    labels=world.CLASSES,
    members=(ClassifierMember(model="zoo:classifier"), ClipMember(model="zoo:clip")),
    judge=ClassifierMember(model="zoo:judge"),
)
GRADIENTS: dict[str, AnyGradient] = {
    "residual, last 5 steps": Residual(last_steps=5),
    "adjoint": Adjoint(),
    "full": Full(),
}
BATCH = 8


@dataclass
class Found:
    """What one way has found."""

    rate: Estimate
    outcomes: np.ndarray
    pictures: int
    seconds: float

    def line(self, name: str, chance: "Found | None") -> str:
        """Its row of the table."""
        successes = int(np.nansum(self.outcomes))
        each = f"{self.pictures / successes:.0f} | {self.seconds / successes:.0f}" if successes else "- | -"
        more = interval(proportion_difference(chance.outcomes, self.outcomes), "+") if chance else ""
        return f"| {name} | {interval(self.rate)} | {self.pictures} | {each} | {more} |"


def machine(device: str) -> ModelSpec:
    return ModelSpec.model_validate({"model": MODEL, "device": device, "dtype": "float32"})


def attempts(count: int) -> list[Attempt]:
    names = [world.CLASSES[number % len(world.CLASSES)] for number in range(count)]
    return [Attempt(seed=500 + n, prompt=world.caption(name), label=name) for n, name in enumerate(names)]


def efficiency(count: int, iterations: int, device: str) -> list[str]:
    """The share of attempts with a failure, and what one costs, by each gradient and by chance."""
    generator, surrogate = load_generator(machine(device)), load_surrogate(ENSEMBLE, machine(device))
    found: dict[str, Found] = {}
    budgets: list[int] = []
    for name, gradient in GRADIENTS.items():
        spec = LatentSearchSpec(sampler=SAMPLER, gradient=gradient, iterations=iterations, batch=BATCH)
        start = time.monotonic()
        ended = LatentSearch(spec, generator, surrogate)(attempts(count))
        outcomes = np.array([np.nan if one.natural else float(one.accepted is not None) for one in ended])
        drawn = [one.evaluations for one in ended]
        budgets = budgets or drawn
        found[name] = Found(success_rate(ended), outcomes, sum(drawn), time.monotonic() - start)
        print(name, found[name].rate, flush=True)
    for name, draws in (("fresh seeds", FreshSeeds()), ("random perturbations", RandomPerturbations())):
        spec, start = LatentSearchSpec(sampler=SAMPLER, batch=BATCH), time.monotonic()
        drawn_ = RandomSearch(draws, spec, generator, surrogate)(attempts(count), budgets)
        outcomes = np.array([np.nan if one.natural else float(one.accepted > 0) for one in drawn_])
        rate = Estimate.missing(0, "") if not len(outcomes) else rate_of(outcomes)
        found[name] = Found(rate, outcomes, sum(budgets), time.monotonic() - start)
        print(name, rate, flush=True)
    return [one.line(name, found["fresh seeds"] if name in GRADIENTS else None) for name, one in found.items()]


def rate_of(outcomes: np.ndarray) -> Estimate:
    from stages.metrics import Proportion

    return Proportion().of(outcomes)


def together(device: str, repeats: int) -> list[str]:
    """Pictures with their gradients a second, searched side by side and one at a time."""
    generator, surrogate = load_generator(machine(device)), load_surrogate(ENSEMBLE, machine(device))
    rates: dict[int, list[float]] = {1: [], BATCH: [], 4 * BATCH: []}
    for _ in range(repeats):
        for batch, found in rates.items():
            found.append(rate(batch, generator, surrogate))
    one = np.array(rates[1])
    return [
        f"| {batch} | {spread(found)} | {spread((np.array(found) / one).tolist())} |" for batch, found in rates.items()
    ]


def rate(batch: int, generator: object, surrogate: Surrogate) -> float:
    """Return pictures with gradients a second."""
    spec = LatentSearchSpec(sampler=SAMPLER, iterations=2, batch=batch, early_stop=False)
    search = LatentSearch(spec, generator, surrogate)  # type: ignore[arg-type]
    search(attempts(1))
    start = time.monotonic()
    done = search(attempts(batch))
    return sum(one.evaluations for one in done) / (time.monotonic() - start)


def memory(device: str) -> list[str]:
    """Peak memory of one gradient by the number of steps, a process each."""
    lines = []
    for name in GRADIENTS:
        cells = [subprocess.run([sys.executable, __file__, "--one", name, str(steps), "--device", device], capture_output=True, text=True, check=True).stdout.strip() for steps in (10, 40, 160)]  # fmt: skip
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return lines


def peak(name: str, steps: int, device: str) -> str:
    """Return the MiB that one gradient of a batch needs above what the models do."""
    generator = load_generator(machine(device))
    before = forget_peak(device)
    x = torch.randn(BATCH, 4, 16, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    sampler = SAMPLER.model_copy(update={"steps": steps})
    pixels = pictures(generator, x, [world.caption("star")] * BATCH, sampler, GRADIENTS[name])  # type: ignore[arg-type]
    pixels.sum().backward()
    return f"{used(device) - before:.0f}"


def forget_peak(device: str) -> float:
    """Start to watch for the peak anew, and return what is used now, in MiB: loading needs more than what it leaves."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def used(device: str) -> float:
    """Return the most memory used since, in MiB."""
    return torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else status("VmHWM")


def status(name: str) -> float:
    """Return an amount of memory of this process, in MiB."""
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def page(count: int, iterations: int, repeats: int, device: str) -> str:
    load = os.getloadavg()[0]
    name = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    rows, batches, peaks = efficiency(count, iterations, device), together(device, repeats), memory(device)
    return "\n".join(
        [
            "# Benchmark: searches over latents",
            "",
            f"`python benchmarks/sage.py` on {os.cpu_count()} cores, {name}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}, with a load of {load:.1f} before.",
            f"`{MODEL}`, {SAMPLER.steps} DDIM steps, guidance {SAMPLER.guidance:g}; an ensemble of the embedded classifier and CLIP, judged by the embedded judge.",
            "",
            "## Failures",
            "",
            f"{count} attempts of at most {iterations + 1} pictures each; a failure counts where its latent passes every test of N(0, I) and the judge agrees. Random search draws as many pictures as the first row's.",
            "",
            "| way | attempts with a failure | pictures | pictures a failure | seconds a failure | more than fresh seeds |",
            "| --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
            "## Searches side by side",
            "",
            f"Medians and ranges of {repeats} alternating runs, residual gradient.",
            "",
            "| searches in a batch | pictures with gradient/s | times one at a time |",
            "| --- | --- | --- |",
            *batches,
            "",
            "## Memory",
            "",
            f"Peak MiB of the gradient of a batch of {BATCH} above the loaded model, by the sampler's steps, a process each.",
            "",
            "| gradient | 10 steps | 40 steps | 160 steps |",
            "| --- | --- | --- | --- |",
            *peaks,
            "",
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks-sage.md")
    parser.add_argument("--attempts", type=int, default=24)
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(peak(arguments.one[0], int(arguments.one[1]), arguments.device))
        sys.exit()
    text = page(arguments.attempts, arguments.iterations, arguments.repeats, arguments.device)
    print(text)
    if arguments.write:
        (ROOT / "docs" / "benchmarks-sage.md").write_text(text)
