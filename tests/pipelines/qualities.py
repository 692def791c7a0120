"""Questions about the quality of a Gaussian model's pictures, drawn in this process."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.columns import unpack
from pipelines.config import load
from pipelines.quality import Quality, QualitySpec
from pipelines.quality_reference import Reference, unmeasured
from pipelines.store import Store
from tests.pipelines.trajectories import apply, gaussian

SAMPLERS = (
    "samplers=[{name: IDDPM, sampler: {scheduler: ddpm, guidance: 1}}, "
    "{name: DDIM, sampler: {scheduler: ddim, guidance: 1}}]"
)


def quality(folder: Path, *overrides: str) -> Quality:
    """Return a question about two samplers of a Gaussian model, 4 x 4 pixels, in 2 and in 4 calls."""
    given = [
        f"run={{output: '{folder / 'runs'}', batch_size: 64}}",
        f"models=['{gaussian(folder / 'gaussian')}']",
        SAMPLERS,
        "nfe=[2, 4]",
        "prompts={kind: none}",
        "seeds.count=128",
        "reference={source: 'world:0-300', side_px: 4}",
        "groups=8",
        "kept=100",
    ]
    return Quality(load(QualitySpec, "quality_demo", [*given, *overrides]))


def measure_here(reference: Reference) -> None:
    """Measure a reference as a run does, in this process."""
    store, count = Store(reference.store), 0
    for span in reference.source.spans(100, reference.spec.limit):
        for rows in unmeasured(reference.source, span, frozenset(), 64):
            apply(reference.pipeline, unpack(rows))
            count += rows.num_rows
    whole = pa.table({"sample_id": [reference.fingerprint], "rows": [count]})
    store.write(f"{reference.table}-whole", whole)


def draw(question: Quality) -> None:
    """Fill the store as a run does."""
    measure_here(question.reference)
    for part in question.draws:
        for grid in part.grids:
            apply(part.generation, grid.rows(np.arange(len(grid))))
