"""The trial that looks around the failures of a study: are they isolated points, or parts of a region."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, JsonValue

from stages.base import Spec, digest
from stages.metrics import Estimate
from tuning.sage import outcomes
from tuning.sage.latents.trial import LatentTask, load
from tuning.sage.region.region import Region, RegionResult, RegionSpec, connected, failing, of_saved, straight
from tuning.search import Metrics, Point


class RegionTask(Spec):
    """Measure the region around the failures that some searches have found; their settings are those of the search."""

    kind: Literal["region"] = "region"
    region: RegionSpec
    searches: LatentTask = Field(description="Every attempt of the study as one task; its outcomes are there.")

    @property
    def settings(self) -> RegionSpec:
        """Return what is measured, with the search's own sampler, gradient and tests."""
        return self.region.model_copy(update={"search": self.searches.search})

    @property
    def measured(self) -> Path:
        """Return the file of what is found."""
        names = [outcomes.name(attempt) for attempt in self.searches.attempts]
        return self.searches.folder / f"region-{digest([self.region.model_dump(mode='json'), names])[:16]}.json"

    @property
    def pictures(self) -> int:
        """The most pictures that it may draw."""
        return self.region.pictures


def run(point: Point) -> Iterator[Metrics]:
    """Measure the region around the failures of a point's task."""
    import torch

    task = RegionTask.model_validate(point["task"])
    torch.set_num_threads(task.searches.threads)
    if not task.measured.is_file():
        generator, surrogate = load(task.searches)
        found = Region(task.settings, generator, surrogate)(of_saved(task.searches.found(), generator))
        partial = task.measured.with_suffix(".partial")
        partial.write_text(json.dumps(described(found), indent=2) + "\n", encoding="utf-8")
        partial.rename(task.measured)
    yield {"pictures": float(task.pictures)}


def described(found: RegionResult) -> dict[str, JsonValue]:
    """Return the numbers of a result, each estimate with its interval and n."""
    estimates = {
        "radius, radians": found.angle,
        "radius, distance": found.distance,
        "radius towards the seed, radians": found.towards_start,
        "pairs connected": connected(found.pairs),
        "pairs connected straight": straight(found.pairs),
        "failing share of the way between failures": failing(found.pairs),
        "failing share of the way to plain seeds": failing(found.controls),
        "fails another class's prompt too": found.transferred,
    }
    chances = [
        {
            "prompt": one.query.prompt,
            "target": one.query.target.canonical(),
            "plain": _estimate(one.plain),
            "rare": _estimate(one.rare.estimate),
            "floor": one.rare.floor,
        }
        for one in found.chances
    ]
    strengths = zip(found.persistence.strengths, found.persistence.curve(), strict=True)
    return {
        "failures": len(found.failures),
        "unconfirmed": found.unconfirmed,
        "censored directions": sum(radius.censored for radius in found.radii),
        "components": found.components.tolist(),
        "estimates": {name: _estimate(one) for name, one in estimates.items()},
        "chances": chances,
        "persistence": [{"strength": strength, "fails": _estimate(one)} for strength, one in strengths],
        "evaluations": dict(found.evaluations),
    }


def _estimate(one: Estimate) -> Any:
    return json.loads(one.model_dump_json())
