"""Sources that lie in files, here or on any storage that pyarrow reads: folders of pictures, and tars."""

import re
import tarfile
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import PurePosixPath
from typing import IO, ClassVar, NamedTuple

import pyarrow as pa
import pyarrow.fs as pafs
from typing_extensions import override

from pipelines.config import UserError, one_line
from pipelines.entries import Entry, Source, Span, limited
from pipelines.pictures import MAX_BYTES, SUFFIXES
from stages.base import digest
from stages.storage import filesystem


class File(NamedTuple):
    """A file of a source; its path is relative to the source's folder."""

    path: str
    bytes: int


class Place(NamedTuple):
    """Where files lie."""

    fs: pafs.FileSystem
    folder: str
    pattern: str
    """Of their paths below the folder: the name of one file, or a text with *."""


class Files(Source):
    """A source that lies in files of some suffixes: one file, a folder and all below it, or a pattern with *."""

    suffixes: ClassVar[tuple[str, ...]]

    @cached_property
    def place(self) -> Place:
        """Return the folder that paths of entries are relative to."""
        return place_of(self.text)

    @cached_property
    def files(self) -> list[File]:
        """Return the files in order of their paths."""
        return [file for file in listed(self.place) if file.path.lower().endswith(self.suffixes)]

    @override
    def listing(self) -> str:
        return digest([list(file) for file in self.files])

    def whole(self, path: str) -> str:
        """Return the path on the file system."""
        return f"{self.place.folder}/{path}"

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name not in ("place", "files")}


class Folder(Files):
    """Picture files."""

    suffixes = SUFFIXES

    @override
    def spans(self, size: int, limit: int | None) -> list[Span]:
        paths = [file.path for file in self.files][:limit]
        groups = [tuple(paths[start : start + size]) for start in range(0, len(paths), size)]
        return [Span(number=i, paths=group, rows=len(group)) for i, group in enumerate(groups)]

    @override
    def entries(self, span: Span) -> Iterator[Entry]:
        for path in span.paths:
            try:
                with self.place.fs.open_input_stream(self.whole(path)) as file:
                    yield Entry(path, -1, file.read(MAX_BYTES + 1))
            except OSError as error:
                yield Entry(path, -1, None, reason=f"an unreadable file: {one_line(error)}")


class Tars(Files):
    """Tars in WebDataset's layout: the files of one sample follow each other and share their name up to a dot."""

    suffixes = (".tar",)
    unit = "tar files"

    @override
    def spans(self, size: int, limit: int | None) -> list[Span]:
        spans = [Span(number=i, paths=(file.path,)) for i, file in enumerate(self.files)]
        return spans if limit is None else limited(list(self._counted(spans, limit)), limit)

    @override
    def entries(self, span: Span) -> Iterator[Entry]:
        with self.place.fs.open_input_stream(self.whole(span.paths[0])) as file:
            for row, entry in enumerate(tar_entries(file, span.paths[0])):
                if row == span.rows:
                    return
                yield entry._replace(row=row)

    def _counted(self, spans: Sequence[Span], limit: int) -> Iterator[Span]:
        """Yield spans with their lengths until they reach the limit: only reading a tar tells."""
        for span in spans:
            if limit <= 0:
                return
            rows = sum(1 for _ in self.entries(span))
            limit -= rows
            yield span.model_copy(update={"rows": rows})


def tar_entries(file: IO[bytes], path: str) -> Iterator[Entry]:
    """Yield the picture of each sample in a tar, read from start to end; a torn end is an entry with its reason."""
    try:
        with tarfile.open(fileobj=file, mode="r|") as tar:
            members = ((member, tar) for member in tar if member.isfile())
            for _, group in groupby(members, key=lambda pair: key_of(pair[0].name)):
                # A streamed tar is read forwards only, so each file is read as it comes.
                parts = {suffix_of(member.name): contents(tar, member) for member, tar in group}
                yield from sample(parts, path)
    except (tarfile.TarError, EOFError, OSError) as error:
        yield Entry(path, -1, None, reason=f"a damaged tar: {one_line(error)}")


def contents(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Return a file of a tar if it is one that is used."""
    file = tar.extractfile(member) if suffix_of(member.name) in (*SUFFIXES, ".cls") else None
    return file.read(MAX_BYTES + 1) if file else b""


def sample(parts: dict[str, bytes], path: str) -> Iterator[Entry]:
    """Yield the entry of one sample, none where it has no picture."""
    label = parts.get(".cls", b"").strip()
    number = int(label) if re.fullmatch(rb"\d{1,9}", label) else None
    for suffix in SUFFIXES:
        if suffix in parts:
            yield Entry(path, -1, parts[suffix], number)
            return


def key_of(name: str) -> str:
    """Return the folder and the name up to the first dot: what the files of a sample share."""
    path = PurePosixPath(name)
    return f"{path.parent}/{path.name.partition('.')[0]}"


def suffix_of(name: str) -> str:
    """Return what follows the first dot, with it."""
    return "." + PurePosixPath(name).name.partition(".")[2].lower()


def place_of(text: str) -> Place:
    """Return where the files of a source lie: a folder, one file in it, or those that fit a pattern."""
    folder, star, pattern = pattern_in(text)
    try:
        fs, root = filesystem(folder)
        kind = fs.get_file_info(root).type
    except (pa.ArrowException, OSError, ImportError) as error:
        raise UserError(f"source {text}: expected a readable place, found: {one_line(error)}") from None
    if kind == pafs.FileType.NotFound:
        raise UserError(f"source {text}: expected a file or a folder, found none")
    if kind == pafs.FileType.Directory:
        return Place(fs, root, pattern if star else "*")
    parent, _, name = root.rpartition("/")
    return Place(fs, parent, name)


def pattern_in(text: str) -> tuple[str, bool, str]:
    """Return the folder before a pattern, whether there is one, and the pattern; * is any text."""
    before, star, after = text.partition("*")
    if not star:
        return text, False, ""
    folder, slash, start = before.rpartition("/")
    return folder or slash or ".", True, f"{start}*{after}"


def listed(place: Place) -> list[File]:
    """Return the files at a place in order of their paths; hidden ones are left out."""
    if "*" not in place.pattern:
        return [File(place.pattern, place.fs.get_file_info(f"{place.folder}/{place.pattern}").size)]
    fits = re.compile(".*".join(map(re.escape, place.pattern.split("*"))))
    infos = place.fs.get_file_info(pafs.FileSelector(place.folder, recursive=True))
    files = [File(i.path.removeprefix(place.folder).lstrip("/"), i.size) for i in infos if i.type == pafs.FileType.File]
    return sorted(f for f in files if fits.fullmatch(f.path) and not re.search(r"(^|/)[._]", f.path))
