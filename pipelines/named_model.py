"""A model of a comparison, and what the report calls it."""

from pydantic import Field, JsonValue

from stages.base import Spec


class NamedModel(Spec):
    """One model of a comparison."""

    model: str = Field(description="zoo:NAME, a local diffusers folder or a hub id, ORG/NAME[@REVISION].")
    name: str = Field("", max_length=40, description="What the report calls it; empty: the end of `model`.")

    @property
    def called(self) -> str:
        """Return what the report calls it."""
        return self.name or self.model.rstrip("/").rpartition("/")[2].removeprefix("zoo:")


def spelled_out(entries: JsonValue) -> JsonValue:
    """Return the entries with every one that is only a name as a mapping."""
    if not isinstance(entries, list | tuple):
        return entries
    return [{"model": entry} if isinstance(entry, str) else entry for entry in entries]
