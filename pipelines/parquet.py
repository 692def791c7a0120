"""Sources that lie in Parquet files with a column of pictures."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from typing_extensions import override

from pipelines.config import UserError, one_line
from pipelines.entries import Entry, Span, limited
from pipelines.files import Files

FOOTERS_AT_ONCE = 16
ROWS_AT_ONCE = 256
USUAL = ("image", "img", "jpg", "png")


class Parquet(Files):
    """Parquet files with a column of pictures: binary, or Hugging Face's struct of bytes and path.

    A column `label` of integers comes along.
    """

    suffixes = (".parquet",)

    def __init__(self, text: str, column: str | None = None) -> None:
        super().__init__(text)
        self.column = column

    @override
    def spans(self, size: int, limit: int | None) -> list[Span]:
        paths = [file.path for file in self.files]
        picture_column(self.open(paths[0]).schema_arrow, self.column, self.text)
        with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
            counts = pool.map(lambda path: int(self.open(path).metadata.num_rows), paths)
        spans = (Span(number=i, paths=(path,), rows=n) for i, (path, n) in enumerate(zip(paths, counts, strict=True)))
        return limited(list(spans), limit)

    @override
    def entries(self, span: Span) -> Iterator[Entry]:
        path = span.paths[0]
        schema = self.open(path).schema_arrow
        column, label = picture_column(schema, self.column, path), label_column(schema)
        for row, found in enumerate(self.rows(span, [column, *label])):
            data, reason = content(found[column])
            yield Entry(path, row, data, found[label[0]] if label else None, reason)

    def rows(self, span: Span, columns: list[str]) -> Iterator[dict[str, Any]]:
        """Yield the rows of a span."""
        left = span.rows or 0
        for batch in self.open(span.paths[0]).iter_batches(batch_size=ROWS_AT_ONCE, columns=columns):
            yield from batch.slice(0, left).to_pylist()
            left -= min(left, len(batch))
            if not left:
                return

    def open(self, path: str) -> pq.ParquetFile:
        """Return an open file; raises `UserError`."""
        try:
            return pq.ParquetFile(self.place.fs.open_input_file(self.whole(path)))
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"source {self.text}: expected Parquet in {path}, found: {one_line(error)}") from None


def picture_column(schema: pa.Schema, wanted: str | None, where: str) -> str:
    """Return the column that holds the pictures: the one asked for, or the only one that can be it."""
    able = [field.name for field in schema if holds_pictures(field.type)]
    if wanted is not None:
        if wanted not in able:
            raise UserError(f"source {where}: expected pictures in column {wanted}, found them in {able}")
        return wanted
    declared = [name for name in able if name in hugging_face_images(schema)]
    for names in (declared, able, [name for name in able if name in USUAL]):
        if len(names) == 1:
            return names[0]
    raise UserError(
        f"source {where}: expected one column of pictures (binary, or struct of bytes and path), found {able}; "
        "name one with column=NAME"
    )


def holds_pictures(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold picture files."""
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and holds_pictures(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def hugging_face_images(schema: pa.Schema) -> set[str]:
    """Return the columns that Hugging Face's metadata calls pictures."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name for name, feature in features.items() if feature.get("_type") == "Image"}
    except (KeyError, TypeError, ValueError, AttributeError):
        return set()


def label_column(schema: pa.Schema) -> list[str]:
    """Return the column of class indices, in a list that is empty where there is none."""
    return [field.name for field in schema if field.name == "label" and pa.types.is_integer(field.type)]


def content(picture: object) -> tuple[bytes | None, str | None]:
    """Return the file in a cell, or the reason why there is none."""
    data = picture.get("bytes") if isinstance(picture, dict) else picture
    if isinstance(data, bytes):
        return data, None
    path = picture.get("path") if isinstance(picture, dict) else None
    return None, f"no bytes, only the path {path}" if path else "no picture in this row"
