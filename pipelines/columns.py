"""Every column, with its Arrow type: the schema of the store and of what travels between actors."""

import json
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa

from stages.base import Batch, Column, objects

PNG = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
PIXELS = pa.struct([("data", pa.binary()), ("shape", pa.list_(pa.int32()))])
"""An image between two actors: raw, since encoding it would cost more than sending it."""

SAMPLE = pa.schema(
    [
        ("sample_id", pa.string()),
        ("model", pa.string()),
        ("revision", pa.string()),
        ("prompt", pa.string()),
        ("label", pa.int32()),
        ("seed", pa.int64()),
        ("perturbation", pa.string()),
        ("sampler", pa.string()),
        ("image", PNG),
        ("latent_mean_z", pa.float32()),
        ("latent_norm_z", pa.float32()),
        ("latent_ks_p", pa.float32()),
        ("truncated", pa.string()),
        ("error", pa.string()),
    ]
)
"""A stored sample."""

MEASURED = {
    "top5": pa.list_(pa.int32()),
    "top5_probability": pa.list_(pa.float32()),
    "embedding": pa.list_(pa.float32()),
    "nearest": pa.list_(pa.int64()),
    "nearest_score": pa.list_(pa.float32()),
    "step_distance": pa.list_(pa.float32()),
    "control_distance": pa.list_(pa.float32()),
    "projection": pa.list_(pa.list_(pa.float32())),
    "channel_z": pa.list_(pa.list_(pa.float32())),
    "signal": pa.list_(pa.float32()),
    "film": PNG,
    "features": pa.list_(pa.float32()),
    "probabilities": pa.list_(pa.float32()),
}
"""Measured columns that are not plain float32."""

TRAVELLING = {field.name: field.type for field in SAMPLE} | {
    "number": pa.int64(),
    "item": pa.int64(),
    "image": PIXELS,
    "png": pa.binary(),
    "render": pa.int64(),
    "took": pa.string(),
}


def type_of(name: str) -> pa.DataType:
    """Return the Arrow type of a column; a measured one may carry a prefix such as judge_."""
    if name in TRAVELLING:
        return TRAVELLING[name]
    return next((kind for suffix, kind in MEASURED.items() if name.endswith(suffix)), pa.float32())


def schema_of(measured: Iterable[str]) -> pa.Schema:
    """Return the schema of a table of measured columns."""
    return pa.schema([("sample_id", pa.string()), *((name, type_of(name)) for name in measured)])


def table(batch: Mapping[str, Column], schema: pa.Schema) -> pa.Table:
    """Return columns of a batch as a table to be stored; NaN becomes null."""
    columns = [pa.array(plain(batch[field.name]), type=field.type, from_pandas=True) for field in schema]
    return pa.table(columns, schema=features(schema))


def pack(batch: Batch) -> pa.Table:
    """Return a batch as a typed table, to be sent to the next actor or to the driver."""
    return pa.table({name: packed(name, column) for name, column in batch.items()})


def packed(name: str, column: np.ndarray) -> pa.Array:
    """Return one column as Arrow."""
    if name != "image":
        return pa.array(plain(column), type=type_of(name))
    rows = [None if image is None else {"data": image.tobytes(), "shape": image.shape} for image in column]
    return pa.array(rows, type=PIXELS)


def plain(column: np.ndarray) -> list[object]:
    """Return a column as a list; Arrow knows no arrays of several axes."""
    rows: list[object] = column.tolist()
    return [row.tolist() if isinstance(row, np.ndarray) and row.ndim > 1 else row for row in rows]


def unpack(data: pa.Table) -> Batch:
    """Return the batch that `pack` was given."""
    return {name: unpacked(name, data[name]) for name in data.column_names}


def unpacked(name: str, column: pa.ChunkedArray) -> np.ndarray:
    """Return one column: numbers as they are, vectors as arrays, all else as objects; None where there is nothing."""
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    if name.endswith(("embedding", "features", "probabilities")):
        return objects(row.values.to_numpy() if row.is_valid else None for row in column)
    rows = column.to_pylist()
    return objects([None if row is None else pixels(row) for row in rows] if name == "image" else rows)


def pixels(row: dict[str, object]) -> np.ndarray:
    """Return the image uint8 [h w 3] of one packed row."""
    data, shape = row["data"], row["shape"]
    if not isinstance(data, bytes) or not isinstance(shape, list):
        raise TypeError(f"image: expected bytes and a shape, found {type(data).__name__} and {shape!r}")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def features(schema: pa.Schema) -> pa.Schema:
    """Return the schema with the metadata by which Hugging Face `datasets` decodes the pictures."""
    info = {field.name: feature(field.type) for field in schema}
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": info}})})


def feature(kind: pa.DataType) -> dict[str, object]:
    """Return the Hugging Face feature of an Arrow type."""
    if kind == PNG:
        return {"_type": "Image"}
    if pa.types.is_list(kind):
        return {"_type": "List", "feature": feature(kind.value_type)}
    return {"_type": "Value", "dtype": {pa.float32(): "float32"}.get(kind, str(kind))}
