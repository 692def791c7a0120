"""What is too large for one actor, held by several of its own while a question runs."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from pipelines.measure import Measure
from pipelines.question import Draw
from pipelines.run import RunSpec
from pipelines.sharded_model import hosted_model, is_empirical
from pipelines.shards import ShardedLookup, ShardedLookupSpec, hosted_index
from stages.lookup import Lookup, LookupSpec


@contextmanager
def hosted_parts(draw: Draw) -> Iterator[Draw]:
    """Give the draw with its indexes, and the training pictures of an empirical model, held in `run.parts` actors.

    Its rows and their ids stay the same. Raises `UserError`.
    """
    run = draw.run
    with ExitStack() as held:
        if run.parts is None:
            yield draw
            return
        measures = tuple(sharded(measure, run, held) for measure in draw.measures)
        shards = None
        if is_empirical(draw.grid.model):
            shards = held.enter_context(hosted_model(draw.grid.model, run.parts, run.dtype, run.measure))
        yield replace(draw, measures=measures, shards=shards)


def sharded(measure: Measure, run: RunSpec, held: ExitStack) -> Measure:
    """Return a lookup that asks the actors which hold its index, with its own table; any other measure as it is."""
    if measure.stage is not Lookup or not isinstance(measure.spec, LookupSpec) or run.parts is None:
        return measure
    shards = held.enter_context(hosted_index(measure.spec, run.parts, run.measure))
    spec = ShardedLookupSpec(**dict(measure.spec), name=shards.name, count=shards.count)
    return replace(measure, stage=ShardedLookup, spec=spec, called=Lookup.__name__)
