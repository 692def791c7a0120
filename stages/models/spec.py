"""ModelSpec: which weights a stage loads, and on what hardware it runs them. Imports no heavy library."""

from typing import ClassVar, Literal

from pydantic import Field

from stages.base import Spec


class ModelSpec(Spec):
    """Which weights a stage loads, and on what hardware it runs them."""

    model: str = Field(min_length=1, description="zoo:NAME, a local folder, or a published name.")
    batch: int = Field(32, gt=0, le=4096, description="Rows per forward pass; a smaller batch is padded to it.")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(None, gt=0, description="CPU threads of PyTorch in the actor; null keeps its default.")

    placement: ClassVar = frozenset({"batch", "dtype", "device", "threads"})
    """The fields that say where it runs. They move a result by rounding only."""
