"""The commands over indexes of reference pictures."""

import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from pydantic import Field
from rich.console import Console
from rich.table import Table

from pipelines.config import Tree, assign, validate
from stages.base import Spec
from stages.neighbours import AnyEngine, Index, IvfPq

if TYPE_CHECKING:
    from stages.neighbours.recall import Recall

app = typer.Typer(help="Indexes of reference pictures, to look samples up in.", no_args_is_help=True)
console = Console(width=None if sys.stdout.isatty() else 110)

Folder = Annotated[str, typer.Argument(help="The folder or URI of an index.")]
Settings = Annotated[
    list[str] | None,
    typer.Argument(help="Settings as a.b=c, such as compute.actors=4, embed.resize=square or column=img."),
]
REASONS_SHOWN = 10


class RecallSpec(Spec):
    """Which engine to measure, over which queries."""

    engine: AnyEngine = IvfPq()
    k: int = Field(1, ge=1, description="Neighbours of each query.")
    sample: int = Field(1000, ge=1, description="Queries, drawn at random.")


@app.command()
def build(
    source: Annotated[
        str,
        typer.Argument(
            help="Pictures: a file, a folder or a pattern with *, here or behind hf://, s3://, gs:// (picture files, "
            "Parquet, WebDataset tars); store:OUTPUT for our own samples; world:START-STOP."
        ),
    ],
    output: Annotated[str, typer.Option(help="Folder or URI of the index.")],
    descriptor: Annotated[str, typer.Option(help="zoo:descriptor, sscd:NAME, pixels:SIDE, or a folder.")],
    dtype: Annotated[Literal["float16", "float32"], typer.Option(help="Of the stored vectors.")] = "float16",
    limit: Annotated[int | None, typer.Option(min=1, help="Take the first so many pictures.")] = None,
    overrides: Settings = None,
) -> None:
    """Embed reference pictures into an index; stopped at any moment, the same command goes on from there."""
    from pipelines import index
    from pipelines.cli import asked_of_user
    from pipelines.progress import Watcher

    tree: Tree = {"source": source, "output": output, "stored": dtype, "limit": limit, "embed": {"model": descriptor}}
    for override in overrides or []:
        assign(tree, override)
    spec = validate(index.BuildSpec, tree, where="index")
    with Watcher(console) as watch:
        built = asked_of_user(lambda: index.build(spec, watch, say))
    found = built.manifest
    say("" if built.new else "nothing to do: this index was built with the same settings")
    say(f"{found.count} pictures, {found.quarantined} in quarantine, {len(found.shards)} shards in {output}")


@app.command()
def show(folder: Folder) -> None:
    """Say what an index holds, and what is in its quarantine."""
    index = opened(folder)
    table = Table(box=None, show_header=False)
    for name, value in described(index).items():
        table.add_row(name, value)
    console.print(table, highlight=False)
    for reason, count in quarantine(index).most_common(REASONS_SHOWN):
        say(f"quarantine: {count} x {reason}")


@app.command()
def verify(folder: Folder) -> None:
    """Read every file of an index and compare its checksum."""
    from pipelines.cli import asked_of_user

    index = opened(folder)
    asked_of_user(index.verify)
    say(f"{folder}: {len(index.manifest.files)} files, every checksum as in the manifest")


@app.command()
def recall(
    folder: Folder,
    queries: Annotated[str, typer.Option(help="An index of what will be looked up, such as one of store:OUTPUT.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings, such as engine.kind=ivf, engine.probes=8, k=3, sample=500.")
    ] = None,
) -> None:
    """Build an approximate engine for an index, and measure how often it finds the nearest."""
    from pipelines.cli import asked_of_user

    tree: Tree = {"engine": {"kind": "ivf_pq"}}
    for override in overrides or []:
        assign(tree, override)
    spec = validate(RecallSpec, tree, where="recall")
    found = asked_of_user(lambda: measured(spec, opened(folder), opened(queries)))
    say(f"{spec.engine}")
    say(f"finds the nearest: {found.nearest:.4f}, {found.nearest.method}")
    say(f"finds the {spec.k} nearest: {found.at_k:.4f}, {found.at_k.method}")


def measured(spec: RecallSpec, references: Index, queries: Index) -> "Recall":
    """Return the recall of an engine over queries drawn from another index."""
    from stages.neighbours.recall import recall as measure
    from stages.neighbours.search import refuse_k
    from stages.randomness import rng

    references.manifest.refuse_other(queries.manifest.score, queries.manifest.weights, "recall")
    refuse_k(spec.k, references.count)
    numbers = rng(0, "recall").permutation(queries.count)[: spec.sample]
    return measure(spec.engine, references, queries.gather(numbers), spec.k)


def described(index: Index) -> dict[str, str]:
    """Return what an index holds, as text."""
    found = index.manifest
    size = sum(file.bytes for file in found.files)
    return {
        "pictures": f"{found.count}, {found.count - distinct(index)} of them exact duplicates of others",
        "quarantine": f"{found.quarantined}",
        "source": found.source,
        "descriptor": f"{found.score}, weights {found.weights}",
        "vectors": f"{found.dimension} x {found.dtype}, compared by {found.metric}",
        "size": f"{size / 2**20:.1f} MiB in {len(found.shards)} shards",
        "engines": ", ".join(sorted(p.name for p in (index.folder / "engines").glob("*.faiss"))) or "none built",
    }


def distinct(index: Index) -> int:
    """Return how many different pictures an index holds."""
    import pyarrow.compute as pc

    return int(pc.count_distinct(index.dataset().to_table(columns=["hash"])["hash"]).as_py())


def quarantine(index: Index) -> Counter[str]:
    """Return how often each reason stands in the quarantine."""
    return Counter(index.quarantine()["reason"].to_pylist())


def opened(folder: str) -> Index:
    """Return an index; what is wrong with it is the user's to fix."""
    from pipelines.cli import asked_of_user

    return asked_of_user(lambda: Index.open(folder))


def say(text: str) -> None:
    """Print a line as it stands."""
    if text:
        console.print(text, highlight=False, markup=False, soft_wrap=True)
