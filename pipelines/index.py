"""Build an index of references: a source's pictures, embedded by a pool of actors, resumed where it was stopped."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field, JsonValue

from pipelines import cluster
from pipelines.columns import PNG, features
from pipelines.compute import Compute
from pipelines.config import UserError
from pipelines.entries import Source, Span
from pipelines.flow import loaded, pooled
from pipelines.masking import masked
from pipelines.pieces import EmbedPieces, Key, Parts, read_pieces
from pipelines.pipeline import Pipeline, Step
from pipelines.run import RunSpec, Tally, batches
from pipelines.sources import parse
from stages.base import Batch, Spec, digest, objects
from stages.embed import Embed, EmbedSpec
from stages.models.descriptors.spec import score_name
from stages.models.source import fingerprint
from stages.neighbours.manifest import NAME, Manifest, read_manifest
from stages.neighbours.writer import Writer

if TYPE_CHECKING:
    from ray.data import Dataset

FEW = 3
"""So many entries may be in quarantine whatever the share."""
ITEMS = pa.schema(
    [
        ("item", pa.int64()),
        ("path", pa.string()),
        ("row", pa.int64()),
        ("label", pa.int64()),
        ("hash", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("image", PNG),
    ]
)
"""What is known of an item; the image is a small copy."""


class BuildSpec(Spec):
    """What an index is built from, and where it is built."""

    source: str = Field(min_length=1, description="Pictures: a path, a pattern, hf://, s3://, gs://, store:, world:.")
    output: str = Field(min_length=1, description="Folder of the index, on a disk that all nodes share.")
    embed: EmbedSpec = Field(description="The descriptor.")
    stored: Literal["float16", "float32"] = Field("float16", description="Number format of the stored vectors.")
    limit: int | None = Field(None, ge=1, description="Take the first so many entries; null takes all.")
    column: str | None = Field(None, description="Column of a Parquet source; null finds it.")
    piece_rows: int = Field(1024, ge=1, le=65536, description="Entries that are published together.")
    shard_rows: int = Field(131_072, ge=1, le=2**24, description="Vectors in a file; the last is held in memory.")
    thumbnail_px: int = Field(64, ge=0, le=512, description="Longest side of the small copies; 0 keeps none.")
    compute: Compute = Field(Compute(), description="The pool that embeds.")
    decoders: int = Field(2, ge=1, le=256, description="Threads of an actor that decode pictures.")
    address: str = Field(
        "local", description="local: RAY_ADDRESS, else a Ray of its own. auto: a running one. Or an address."
    )
    max_quarantined_share: float = Field(0.05, ge=0, le=1, description="More than this is refused, three apart.")

    def settings(self) -> dict[str, JsonValue]:
        """Return everything that determines the files of the index."""
        apart = {"output", "compute", "decoders", "address", "max_quarantined_share"}
        settings: dict[str, JsonValue] = self.model_dump(mode="json", exclude=apart)
        settings["source"] = masked(self.source)
        settings["embed"] = self.embed.model_dump(mode="json", exclude=set(self.embed.placement) | {"prefix"})
        return settings


@dataclass(frozen=True)
class Built:
    """An index, and whether there was anything to do."""

    manifest: Manifest
    new: bool


def build(spec: BuildSpec, watch: Callable[[str, Tally], None], announce: Callable[[str], None]) -> Built:
    """Build an index, or go on with one; raises `UserError` and `RunFailed`."""
    if "://" in spec.output:
        raise UserError(f"index: expected a folder on a disk that all nodes share, found {spec.output}; copy it later")
    folder = Path(spec.output)
    told: dict[str, JsonValue] = {
        **spec.settings(), "score": score_name(spec.embed), "weights": fingerprint(spec.embed.model, "descriptor")
    }  # fmt: skip
    if (folder / NAME).is_file():
        manifest = read_manifest(folder)
        refuse_others(folder, told)
        return Built(manifest, new=False)
    source = parse(spec.source, spec.column)
    spans = source.spans(spec.piece_rows, spec.limit)
    if not spans:
        raise UserError(f"source {spec.source}: expected at least one picture, found none")
    begin(folder, told | {"listing": source.listing()})
    embed(spec, source, spans, watch, announce)
    announce("writing the shards")
    return Built(finish(spec, told), new=True)


def begin(folder: Path, told: dict[str, JsonValue]) -> None:
    """Write down what is being built, or check that the same is."""
    if (folder / "build.json").is_file():
        refuse_others(folder, told)
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"index {folder}: expected an empty folder or one of an index, found other files; name another")
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / ".build.json"
    aside.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    os.replace(aside, folder / "build.json")  # noqa: PTH105  as everywhere


def refuse_others(folder: Path, told: dict[str, JsonValue]) -> None:
    """Raise `UserError` where the folder holds, or is to hold, something else."""
    try:
        begun = json.loads((folder / "build.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(
            f"index {folder}: expected build.json, found none that can be read; name another folder"
        ) from None
    for name, value in told.items():
        if begun.get(name) != value:
            raise UserError(
                f"index {folder}: expected {name} {json.dumps(begun.get(name))} as it was begun, "
                f"found {json.dumps(value)}; name another folder"
            )


def embed(
    spec: BuildSpec,
    source: Source,
    spans: Sequence[Span],
    watch: Callable[[str, Tally], None],
    announce: Callable[[str], None],
) -> None:
    """Embed and publish the pieces that are not published yet."""
    parts = Parts(folder_of_parts(spec))
    parts.sweep()
    done, whole = parts.published(), parts.whole()
    todo = [span for span in spans if span.number not in whole]
    if not todo:
        return
    announce("starting Ray and loading the descriptor")
    pipeline = Pipeline("index", Step(Embed, spec.embed, spec.compute))
    cluster.connect(RunSpec(address=spec.address, output=spec.output, generate=spec.compute), [pipeline])
    tally = Tally(expected(todo, done))
    counted = "entries" if all(span.rows for span in todo) else "last"
    for batch in batches(pieces(spec, source, todo, done), "index"):
        tally.add(finished(batch, counted))
        watch(f"embedding {source.unit}", tally)


def expected(todo: Sequence[Span], done: Mapping[Key, Path]) -> int:
    """Return how many pictures there are to embed, or how many files where only reading them tells."""
    if not all(span.rows for span in todo):
        return len(todo)
    numbers = {span.number for span in todo}
    return sum(span.rows or 0 for span in todo) - rows_in(path for key, path in done.items() if key.span in numbers)


def finished(batch: Batch, counted: str) -> Batch:
    """Return what a tally counts of finished pieces."""
    count = int(batch[counted].astype(np.int64).sum())
    bad = min(count, int(batch["quarantined"].sum()))
    return {"number": np.arange(count), "error": objects(["quarantined"] * bad + [None] * (count - bad))}


def pieces(spec: BuildSpec, source: Source, todo: Sequence[Span], done: Iterable[Key]) -> "Dataset":
    """Return the data set whose blocks are the pieces that are not done, embedded by the pool."""
    have: dict[int, set[int]] = {}
    for key in done:
        have.setdefault(key.span, set()).add(key.piece)
    size = spec.piece_rows

    def read(text: str) -> Iterator[pa.Table]:
        span = Span.model_validate_json(text)
        return read_pieces(source, span, size, frozenset(have.get(span.number, ())))

    rows = loaded([span.model_dump_json() for span in todo], read, batch_size=1)
    arguments = (spec.embed, spec.stored, spec.thumbnail_px, folder_of_parts(spec), spec.decoders)
    return pooled(rows, EmbedPieces, arguments, spec.compute, batch_size=1)


def folder_of_parts(spec: BuildSpec) -> str:
    """Return where the published pieces lie until the shards are written."""
    return str(Path(spec.output).absolute() / "parts")


def finish(spec: BuildSpec, told: dict[str, JsonValue]) -> Manifest:
    """Write the index from the published pieces, in the order of the source, whatever the order they came in."""
    folder = Path(spec.output)
    paths = list(Parts(folder_of_parts(spec)).published().values())
    bad = pa.concat_tables([quarantined(path) for path in paths])
    refuse_too_many(spec, bad, rows_in(paths))
    described = {key.decode(): value.decode() for key, value in pq.read_schema(paths[0]).metadata.items()}
    writer = Writer(folder, int(described["dimension"]), spec.stored, spec.shard_rows)
    for path in paths:
        rows = pq.read_table(path)
        good = rows.filter(pc.is_null(rows["reason"])).replace_schema_metadata(features(ITEMS).metadata)
        vectors = np.frombuffer(b"".join(good["vector"].to_pylist()), spec.stored)
        writer.add(vectors.reshape(good.num_rows, -1), good.select(ITEMS.names[1:]))
    names = {"score": score_name(spec.embed), "model": spec.embed.model, "metric": described["metric"]}
    manifest = writer.finish(
        bad, **names, weights=str(told["weights"]), source=masked(spec.source), settings=digest(told)
    )
    shutil.rmtree(folder_of_parts(spec))
    return manifest


def quarantined(path: Path) -> pa.Table:
    """Return the rows of a piece that gave no reference, with their reasons."""
    rows = pq.read_table(path, columns=["path", "row", "reason"])
    return rows.filter(pc.is_valid(rows["reason"])).replace_schema_metadata(None)


def rows_in(paths: Iterable[Path]) -> int:
    """Return the number of rows in these files."""
    return sum(int(pq.read_metadata(path).num_rows) for path in paths)


def refuse_too_many(spec: BuildSpec, bad: pa.Table, count: int) -> None:
    """Raise `UserError` where more is in quarantine than the whole may lose, or all is."""
    allowed = max(FEW, spec.max_quarantined_share * count)
    if bad.num_rows <= allowed and bad.num_rows < count:
        return
    path = Path(spec.output) / "quarantine.parquet"
    pq.write_table(bad, path)
    first = bad.slice(0, 1).to_pylist()[0]
    raise UserError(
        f"source {spec.source}: expected at most {min(allowed, count - 1):.0f} of {count} pictures in quarantine "
        f"(max_quarantined_share), found {bad.num_rows}, such as {first['path']} ({first['reason']}); "
        f"all are listed in {path}, the others are kept"
    )
