"""A stage that does nothing: what is left is the cost of the pipeline itself."""

from collections.abc import Mapping
from typing import ClassVar

from stages.base import Batch, Column, Spec, Stage


class Nothing(Stage[Spec]):
    """Writes nothing."""

    reads: ClassVar = ()
    writes: ClassVar = ()

    def transform(self, batch: Mapping[str, Column]) -> Batch:  # noqa: ARG002
        """Return no column."""
        return {}
