"""How fast earlier runs were, by what that depends on: of a whole run, and of one actor of each pool on each node."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.cluster import amount
from pipelines.pace import Place
from pipelines.question import AnyQuestion, Draw

if TYPE_CHECKING:
    from pipelines.sweep import Swept

BETWEEN = " | "


def remember(question: AnyQuestion, swept: "Swept") -> None:
    """Keep the measured rates for the next plan, and for pools that fit themselves."""
    measured = zip(question.draws, swept.rates or (swept.rate,), strict=True)
    known = {rate_key(draw): rate for draw, rate in measured if swept.drawn and np.isfinite(rate)}
    for draw, pace in zip(question.draws, swept.paces, strict=False):
        known |= {BETWEEN.join((actor_key(draw), *place)): rate for place, rate in pace.rates.items()}
    if not known:
        return
    rounded = {key: float(f"{rate:.4g}") for key, rate in known.items()}
    output = question.spec.run.output
    text = json.dumps(read_rates(output) | rounded, indent=1)
    (Path(output) / "rates.json").write_text(text, encoding="utf-8")


def read_rates(output: str) -> dict[str, float]:
    """Return rows per second by key, as earlier runs with this output folder measured them."""
    try:
        text = (Path(output) / "rates.json").read_text(encoding="utf-8")
        return {str(key): float(rate) for key, rate in json.loads(text).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def rates_of(draw: Draw) -> dict[Place, float]:
    """Return the rows per second of one actor, by its pool and the accelerator of its node."""
    split = ((key.rsplit(BETWEEN, 2), rate) for key, rate in read_rates(draw.run.output).items())
    return {(words[1], words[2]): rate for words, rate in split if words[0] == actor_key(draw)}


def rate_key(draw: Draw) -> str:
    """Return what the rate of a whole run depends on."""
    run = draw.run
    where = f"{run.layout} {run.pools} {run.generate.canonical()} batch {run.batch_size} {run.device}"
    watched = " watched" if any(measure.draws for measure in draw.measures) else ""
    return f"{drawn(draw)} {where}{watched}"


def actor_key(draw: Draw) -> str:
    """Return what the rate of one actor depends on, besides its pool and its node."""
    run = draw.run
    where = f"{amount(run.generate)} {amount(run.measure)} batch {run.batch_size} {run.device} {run.dtype}"
    return f"{drawn(draw)} an actor of {where}"


def drawn(draw: Draw) -> str:
    """Return what is drawn: the model, its weights and the first sampler."""
    return f"{draw.grid.model} {draw.grid.revision} {draw.grid.samplers[0]}"
