"""Build an index of references: a source's pictures, embedded by a pool of actors, resumed where it was stopped."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from tempfile import gettempdir
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from pydantic import Field, JsonValue

from pipelines import cluster
from pipelines.columns import PNG, features
from pipelines.compute import Compute
from pipelines.config import UserError
from pipelines.entries import Source, Span
from pipelines.flow import loaded, pooled
from pipelines.masking import masked
from pipelines.pieces import EmbedPieces, Key, Parts, is_aside, read_pieces, whole
from pipelines.pipeline import Pipeline, Step
from pipelines.run import RunFailed, RunSpec, Tally, batches
from pipelines.sources import parse
from pipelines.store import AT_ONCE
from stages.base import Batch, Spec, digest, objects
from stages.embed import Embed, EmbedSpec
from stages.models.descriptors.spec import score_name
from stages.models.source import fingerprint
from stages.neighbours.manifest import NAME, Manifest, read_manifest
from stages.neighbours.writer import Writer
from stages.storage import below, filesystem, put, read

if TYPE_CHECKING:
    from ray.data import Dataset

FEW = 3
"""So many entries may be in quarantine whatever the share."""
LISTED_S = 30.0
"""How long a listing may lack what was published before it."""
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
    output: str = Field(min_length=1, description="Folder of the index, which all nodes share, or its URI.")
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
    told: dict[str, JsonValue] = {
        **spec.settings(), "score": score_name(spec.embed), "weights": fingerprint(spec.embed.model, "descriptor")
    }  # fmt: skip
    fs, root = filesystem(spec.output)
    if is_file(fs, f"{root}/{NAME}"):
        refuse_others(spec.output, told)
        return Built(read_manifest(spec.output), new=False)
    source = parse(spec.source, spec.column)
    spans = source.spans(spec.piece_rows, spec.limit)
    if not spans:
        raise UserError(f"source {spec.source}: expected at least one picture, found none")
    begin(spec.output, told | {"listing": source.listing()})
    embed(spec, source, spans, watch, announce)
    announce("writing the shards")
    return Built(finish(spec, told, {span.number for span in spans}), new=True)


def begin(place: str, told: dict[str, JsonValue]) -> None:
    """Write down what is being built, or check that the same is."""
    fs, root = filesystem(place)
    if is_file(fs, f"{root}/build.json"):
        refuse_others(place, told)
        return
    if any(not is_aside(info.path) for info in fs.get_file_info(pafs.FileSelector(root, allow_not_found=True))):
        raise UserError(f"index {place}: expected an empty folder or one of an index, found other files; name another")
    put(fs, f"{root}/build.json", f"{json.dumps(told, indent=2)}\n".encode())


def is_file(fs: pafs.FileSystem, path: str) -> bool:
    """Whether there is a file."""
    return fs.get_file_info(path).type == pafs.FileType.File


def refuse_others(place: str, told: dict[str, JsonValue]) -> None:
    """Raise `UserError` where the folder holds, or is to hold, something else."""
    fs, root = filesystem(place)
    try:
        begun = json.loads(read(fs, f"{root}/build.json").to_pybytes())
    except (FileNotFoundError, ValueError):
        raise UserError(
            f"index {place}: expected build.json, found none that can be read; name another folder"
        ) from None
    for name, value in told.items():
        if begun.get(name) != value:
            raise UserError(
                f"index {place}: expected {name} {json.dumps(begun.get(name))} as it was begun, "
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
    done = parts.published()
    finished = whole(done)
    todo = [span for span in spans if span.number not in finished]
    if not todo:
        return
    announce("starting Ray and loading the descriptor")
    pipeline = Pipeline("index", Step(Embed, spec.embed, spec.compute))
    output = gettempdir() if "://" in spec.output else spec.output  # of an index behind a URI nothing stays here
    cluster.connect(RunSpec(address=spec.address, output=output, generate=spec.compute), [pipeline])
    tally = Tally(expected(parts, todo, done))
    counted = "entries" if all(span.rows for span in todo) else "last"
    for batch in batches(pieces(spec, source, todo, done), "index"):
        tally.add(counts(batch, counted))
        watch(f"embedding {source.unit}", tally)


def expected(parts: Parts, todo: Sequence[Span], done: Mapping[Key, str]) -> int:
    """Return how many pictures there are to embed, or how many files where only reading them tells."""
    if not all(span.rows for span in todo):
        return len(todo)
    numbers = {span.number for span in todo}
    begun = [path for key, path in done.items() if key.span in numbers]
    return sum(span.rows or 0 for span in todo) - rows_in(parts.fs, begun)


def counts(batch: Batch, counted: str) -> Batch:
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
    return below(spec.output, "parts")


def finish(spec: BuildSpec, told: dict[str, JsonValue], spans: set[int]) -> Manifest:
    """Write the index from the published pieces, in the order of the source, whatever the order they came in."""
    parts = Parts(folder_of_parts(spec))
    paths = every_piece(spec, parts, spans)
    bad = quarantined(parts.fs, paths)
    refuse_too_many(spec, bad, rows_in(parts.fs, paths))
    described = {k.decode(): v.decode() for k, v in pq.read_schema(paths[0], filesystem=parts.fs).metadata.items()}
    writer = Writer(spec.output, int(described["dimension"]), spec.stored, spec.shard_rows)
    for path in paths:
        rows = pq.read_table(path, filesystem=parts.fs)
        good = rows.filter(pc.is_null(rows["reason"])).replace_schema_metadata(features(ITEMS).metadata)
        vectors = np.frombuffer(b"".join(good["vector"].to_pylist()), spec.stored)
        writer.add(vectors.reshape(good.num_rows, -1), good.select(ITEMS.names[1:]))
    names = {"score": score_name(spec.embed), "model": spec.embed.model, "metric": described["metric"]}
    manifest = writer.finish(
        bad, **names, weights=str(told["weights"]), source=masked(spec.source), settings=digest(told)
    )
    parts.delete(paths)
    return manifest


def every_piece(spec: BuildSpec, parts: Parts, spans: set[int]) -> list[str]:
    """Return the paths of the pieces in order; raises `RunFailed` where a listing lacks some, and for long."""
    until = time.monotonic() + LISTED_S
    while lacking := spans - whole(found := parts.published()):
        if time.monotonic() > until:
            raise RunFailed(
                f"index {spec.output}: expected every piece of {len(spans)} parts of the source, found some missing of "
                f"{len(lacking)}; run the same command again"
            )
        time.sleep(LISTED_S / 60)
    return list(found.values())


def quarantined(fs: pafs.FileSystem, paths: Sequence[str]) -> pa.Table:
    """Return the rows of pieces that gave no reference, with their reasons."""

    def bad(path: str) -> pa.Table:
        rows = pq.read_table(path, columns=["path", "row", "reason"], filesystem=fs, use_threads=False)
        return rows.filter(pc.is_valid(rows["reason"])).replace_schema_metadata(None)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return pa.concat_tables(pool.map(bad, paths))


def rows_in(fs: pafs.FileSystem, paths: Iterable[str]) -> int:
    """Return the number of rows in these files."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(pool.map(lambda path: int(pq.read_metadata(path, filesystem=fs).num_rows), paths))


def refuse_too_many(spec: BuildSpec, bad: pa.Table, count: int) -> None:
    """Raise `UserError` where more is in quarantine than the whole may lose, or all is."""
    allowed = max(FEW, spec.max_quarantined_share * count)
    if bad.num_rows <= allowed and bad.num_rows < count:
        return
    fs, root = filesystem(spec.output)
    pq.write_table(bad, f"{root}/quarantine.parquet", filesystem=fs)
    first = bad.slice(0, 1).to_pylist()[0]
    raise UserError(
        f"source {spec.source}: expected at most {min(allowed, count - 1):.0f} of {count} pictures in quarantine "
        f"(max_quarantined_share), found {bad.num_rows}, such as {first['path']} ({first['reason']}); "
        f"all are listed in {below(spec.output, 'quarantine.parquet')}, the others are kept"
    )
