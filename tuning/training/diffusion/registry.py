"""The best model of a study as a version in MLflow's registry: a folder of diffusers with its card, no pickle."""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from pipelines.report import interval
from stages.models.source import fingerprint
from tuning.training.diffusion.fid import read
from tuning.training.diffusion.tune_page import costs, distances, named, short

if TYPE_CHECKING:
    from pipelines.tracking import Tracker
    from tuning.training.diffusion.tune import AdversarialTuneSpec

CARD = """---
library_name: diffusers
pipeline_tag: unconditional-image-generation
tags: [seedquake]
---

# {name}: the best of {trials} trials

A fine-tuning of one pixel-space model: {counts}; every trial had the same number of {equal}.

## Settings

{settings}

Perturbation: `{perturbation}`. The weights are running averages. Start and data stand below.

## How good

FID to {reference} pictures, features of {extractor}; intervals are of 95 %. The noises are not those by which this
model was chosen. Epsilon scaling: {scale}.

| sampler and calls | FID | n |
| --- | --- | --- |
{rows}

Less plain fine-tuning of an equal budget, same noises: {change}.

## Limits

Chosen at {nfe} calls; others were not looked at. FID depends on the extractor and on n: these numbers compare with none
of other studies. It draws what its training pictures show and nothing else.

## How it was made

```yaml
{made}```

Load it with `diffusers.DDPMPipeline.from_pretrained(FOLDER)`, or give the folder to Seedquake's `model=`.
"""


def register(spec: "AdversarialTuneSpec", name: str, tracker: "Tracker") -> str:
    """Register the best model of a study that has ended, and return its version; the same one is not taken twice."""
    folder = spec.best()[1].folder / "model"
    tags = {"seedquake.study": spec.identity(), "seedquake.weights": fingerprint(str(folder))}
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "model"
        shutil.copytree(folder, copy)
        (copy / "README.md").write_text(card(spec), encoding="utf-8")
        return tracker.register(name, copy, tags)


def card(spec: "AdversarialTuneSpec") -> str:
    """Return the card of the best model: how it was made, how good it is, and what it is not for."""
    (settings, best), compared = spec.best(), spec.compared()
    drawn, plain = read(compared["best"]), read(compared["fine-tuned"])
    made = {
        "model": best.model.model_dump(mode="json"),
        "start": spec.model.model_dump(mode="json"),
        "samplers": {name: sampler.model_dump(mode="json") for name, sampler in spec.judging.cells(best.scale)},
    }
    return CARD.format(
        name=spec.name,
        trials=len(spec.trials()),
        counts=", ".join(f"{count:,} {name}" for name, count in costs(best, best.model.minibatches).items()),
        equal=spec.equal,
        settings="\n".join(f"- {name}: {short(value)}" for name, value in named(settings).items()),
        perturbation=repr(best.model.perturbation),
        reference=spec.judging.reference,
        extractor=spec.judging.extractor.model,
        scale="none" if best.scale is None else f"the predicted noise over {best.scale:.4g}",
        rows="\n".join(f"| {name} | {interval(one)} | {one.n} |" for name, one in distances(drawn).items()),
        change=interval(drawn.less(plain), "+"),
        nfe=", ".join(map(str, spec.judging.nfe)),
        made=yaml.safe_dump(made, sort_keys=False),
    )
