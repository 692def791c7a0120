"""parse: from a text to the source of pictures that it names."""

import re
from collections.abc import Iterator
from functools import cached_property

from typing_extensions import override

from pipelines.config import UserError
from pipelines.entries import Entry, Source, Span
from pipelines.files import File, Files, Folder, Place, Tars, listed, place_of
from pipelines.parquet import Parquet, content
from pipelines.save import SAMPLES, png
from pipelines.store import Store
from stages.base import digest

WORLD = re.compile(r"world:(\d{1,15})-(\d{1,15})")
KINDS: tuple[type[Files], ...] = (Parquet, Tars, Folder)


class Samples(Parquet):
    """The samples of a run's store; a sample that failed is quarantined with its error."""

    @cached_property
    def store(self) -> Store:
        """Return the store: that of the run's output folder, or the folder itself."""
        output = self.text.removeprefix("store:").rstrip("/")
        for uri in (f"{output}/store", output):
            if Store(uri).parts(SAMPLES):
                return Store(uri)
        raise UserError(f"source {self.text}: expected samples below {output}/store, found none; run a question first")

    @cached_property
    @override
    def place(self) -> Place:
        return Place(self.store.fs, self.store.folder(SAMPLES), "*")

    @cached_property
    @override
    def files(self) -> list[File]:
        return [File(part.name, part.size) for part in self.store.parts(SAMPLES)]

    @override
    def entries(self, span: Span) -> Iterator[Entry]:
        for sample in self.rows(span, ["sample_id", "image", "label", "error"]):
            data, reason = content(sample["image"])
            yield Entry(sample["sample_id"], -1, data, sample["label"], reason and f"{reason}: {sample['error']}")


class World(Source):
    """Renders of the embedded models' image world, by index."""

    def __init__(self, text: str, start: int, stop: int) -> None:
        super().__init__(text)
        self.start, self.stop = start, stop

    @override
    def listing(self) -> str:
        return digest(self.text)

    @override
    def spans(self, size: int, limit: int | None) -> list[Span]:
        stop = self.stop if limit is None else min(self.stop, self.start + limit)
        starts = range(self.start, stop, size)
        return [Span(number=i, first=first, rows=min(size, stop - first)) for i, first in enumerate(starts)]

    @override
    def entries(self, span: Span) -> Iterator[Entry]:
        from stages.models.zoo.world import labels, render

        indices = range(span.first, span.first + (span.rows or 0))
        for index, label in zip(indices, labels(indices).tolist(), strict=True):
            yield Entry("world", index, png(render([index])[0]), label)


def parse(text: str, column: str | None = None) -> Source:
    """Return the source that `text` names; raises `UserError`.

    A file, a folder or a pattern with *, here or behind hf://, s3:// or gs://; store:OUTPUT; world:START-STOP.
    """
    if match := WORLD.fullmatch(text):
        return World(text, int(match[1]), int(match[2]))
    if text.startswith("store:"):
        return Samples(text, "image")
    paths = [file.path.lower() for file in listed(place_of(text))]
    kinds = [kind for kind in KINDS if any(path.endswith(kind.suffixes) for path in paths)]
    if not kinds:
        raise UserError(
            f"source {text}: expected picture files, Parquet files or tars, found {len(paths)} files of other kinds"
        )
    if len(kinds) > 1:
        raise UserError(
            f"source {text}: expected one kind of files, found {' and '.join(k.__name__ for k in kinds)}; "
            "name one kind by a pattern such as FOLDER/*.parquet"
        )
    return Parquet(text, column) if kinds[0] is Parquet else kinds[0](text)
