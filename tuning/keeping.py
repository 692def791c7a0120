"""What trials leave, kept in a place that every machine reaches, so that their disks need not be shared."""

import hashlib
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow.fs as pafs
from filelock import FileLock
from pydantic import Field, ValidationError, field_validator

from pipelines.config import UserError, one_line
from stages.base import Spec
from stages.storage import CHUNK, PUTS_WHOLE, copied, filesystem, put, read

if TYPE_CHECKING:
    from tuning.search import Metrics, Point, Trainable

PASSING = ("lock", "on-its-way")
MANIFESTS, FILES, ROWS = "manifests", "files", "store"
"""Folders of a place: what counts, what it names, and the rows of the questions that a study asks."""
CHECKPOINT = "checkpoint.pt"
"""What only the trial itself goes on from."""
READS, PAUSE_S = 5, 0.5
"""Of a manifest whose files are gone, as they are once the trial has published another."""


class Manifest(Spec):
    """What a trial has published."""

    files: dict[str, str] = Field({}, description="SHA-256 of each file, by its path in the output.")
    made: tuple[str, ...] = Field((), description="Those that the trial put itself; the others were there.")

    @field_validator("files")
    @classmethod
    def _stays_below(cls, files: dict[str, str]) -> dict[str, str]:
        if out := [path for path in files if Path(path).is_absolute() or ".." in Path(path).parts]:
            raise ValueError(f"expected paths below the output, found {out[0]!r}")
        return files


class Kept:
    """The files that trials leave in an output folder, and the same in a place that every machine reaches.

    There a file lies under its path and its SHA-256. It counts once the manifest of its trial names it, which is put
    last: a reader sees what a trial had left at one of its reports, whole.
    """

    def __init__(self, output: str, place: str) -> None:
        self.output, self.place = Path(output), place
        self.seen: dict[tuple[str, int, int], str] = {}
        """SHA-256 of files here by path, size and time of change."""

    def check(self) -> None:
        """Raise `UserError` where nothing can be put in the place."""
        try:
            fs, root = filesystem(self.place)
            put(fs, f"{root}/{MANIFESTS}/.reached", b"")
        except (OSError, ValueError) as error:
            reason = one_line(error, 300)
            raise UserError(f"run.store: expected to be able to write to {self.place}, found: {reason}") from error

    def put(self, name: str, places: Iterable[Path]) -> None:
        """Put the files in these places, folders or files, and publish them as those of a trial."""
        fs, root = filesystem(self.place)
        before, files = self.manifest(name), dict(self._files(places))
        made = {path for path in before.made if before.files[path] == files.get(path)}
        for path in [path for path, found in files.items() if before.files.get(path) != found]:
            try:
                files[path], new = upload(fs, self.output / path, f"{root}/{FILES}/{path}")
            except FileNotFoundError:  # of another trial, which has moved it meanwhile
                del files[path]
            else:
                made |= {path} if new else set()
        if files == before.files:
            return
        now = Manifest(files=files, made=tuple(sorted(made)))
        put(fs, f"{root}/{MANIFESTS}/{name}.json", now.model_dump_json(indent=1).encode())
        for path in before.made:  # of nobody else, who may go on from it
            if (old := before.files[path]) != files.get(path):
                with suppress(FileNotFoundError):
                    fs.delete_file(f"{root}/{FILES}/{path}/{old}")

    def fetch(self, name: str, working: bool = False) -> None:
        """Bring what a trial has published here, whole; what it goes on from only where it is `working` here.

        A file that is here and differs is replaced. Raises `OSError`, and `ValueError` for a file that was altered.
        """
        self.output.mkdir(parents=True, exist_ok=True)
        with FileLock(self.output / ".fetching.lock"):
            for left in reversed(range(READS)):
                aside = self.output / f".fetched-{uuid.uuid4().hex[:8]}"
                try:
                    self._copy(self.manifest(name), aside, working)
                    move(aside, self.output, self.output / name)
                    return
                except FileNotFoundError:
                    if not left:
                        raise
                    time.sleep(PAUSE_S)
                finally:
                    shutil.rmtree(aside, ignore_errors=True)

    def fetch_all(self, names: Iterable[str]) -> None:
        """Bring here what trials have published; a name that ends with / stands for all below it."""
        fs, root = filesystem(self.place)
        for name in names:
            if not name.endswith("/"):
                self.fetch(name)
                continue
            selector = pafs.FileSelector(f"{root}/{MANIFESTS}/{name.rstrip('/')}", allow_not_found=True)
            for info in fs.get_file_info(selector):
                if info.base_name.endswith(".json") and not info.base_name.startswith("."):
                    self.fetch(f"{name}{info.base_name.removesuffix('.json')}")

    def manifest(self, name: str) -> Manifest:
        """Return what a trial has published; raises `ValueError` for another text."""
        fs, root = filesystem(self.place)
        try:
            return Manifest.model_validate_json(read(fs, f"{root}/{MANIFESTS}/{name}.json").to_pybytes())
        except (FileNotFoundError, NotADirectoryError):
            return Manifest()
        except ValidationError as error:
            raise ValueError(
                f"run.store: expected what a trial has published in manifests/{name}.json of {self.place}, found "
                f"another text ({error.errors()[0]['msg']}); delete it to do the trial again"
            ) from None

    def _files(self, places: Iterable[Path]) -> Iterator[tuple[str, str]]:
        """Yield the path of each file, in the output, and its SHA-256."""
        for place in places:
            for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
                path = file.relative_to(self.output)
                if file.is_file() and not is_passing(path) and (found := self._digest(file)):
                    yield path.as_posix(), found

    def _digest(self, file: Path) -> str | None:
        """Return the SHA-256 of a file; None where there is none."""
        try:
            state = file.stat()
            key = str(file), state.st_size, state.st_mtime_ns
            if key not in self.seen:
                with file.open("rb") as content:
                    self.seen[key] = hashlib.file_digest(content, "sha256").hexdigest()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return self.seen[key]

    def _copy(self, manifest: Manifest, aside: Path, working: bool) -> None:
        """Copy the files that are not here as they are there."""
        fs, root = filesystem(self.place)
        for path, wanted in manifest.files.items():
            if self._digest(self.output / path) == wanted or (Path(path).name == CHECKPOINT and not working):
                continue
            (aside / path).parent.mkdir(parents=True, exist_ok=True)
            with copied(fs, f"{root}/{FILES}/{path}/{wanted}", aside / path) as found:
                if found != wanted:
                    raise ValueError(
                        f"run.store: expected {path} in {self.place} to have SHA-256 {wanted}, found {found}; "
                        f"delete files/{path} and its trial's manifest there, so that it is made again"
                    )


def upload(fs: pafs.FileSystem, file: Path, folder: str) -> tuple[str, bool]:
    """Put a file into a folder under its SHA-256; returns that, and whether it is new there.

    Raises `FileNotFoundError` where there is no such file here.
    """
    with file.open("rb") as content:  # from now on the same file, whatever takes its name
        found = hashlib.file_digest(content, "sha256").hexdigest()
        if fs.get_file_info(f"{folder}/{found}").size == content.tell():  # one whose upload was cut is shorter
            return found, False
        content.seek(0)
        if fs.type_name not in PUTS_WHOLE:
            fs.create_dir(folder, recursive=True)
        with fs.open_output_stream(f"{folder}/{found}") as target:
            while chunk := content.read(CHUNK):
                target.write(chunk)
    return found, True


def move(source: Path, target: Path, last: Path) -> None:
    """Move what is in a folder into another one: a folder that is not there yet in one step, what holds `last` last."""
    for child in sorted(source.glob("*"), key=lambda child: last.is_relative_to(target / child.name)):
        there = target / child.name
        if child.is_dir() and there.is_dir():
            move(child, there, last)
        else:
            child.replace(there)


def is_passing(path: Path) -> bool:
    """Whether a file is not to stay under this name."""
    return any(part.startswith(".") or ".partial" in part or part in PASSING for part in path.parts)


class Left(NamedTuple):
    """What a trial leaves: the name of its manifest, and the folders and files that it works in."""

    name: str
    places: tuple[Path, ...]


@dataclass(frozen=True)
class Keeping:
    """A trainable whose trials may go on at another machine, at which nothing of theirs lies."""

    trainable: "Trainable"
    output: str
    place: str
    needs: tuple[str, ...]
    """Manifests of what the phases before have left."""
    left: "Callable[[Point], Left]"

    def __call__(self, point: "Point") -> "Iterator[Metrics]":
        """Work on a point, and put what is left of it before each report."""
        kept = Kept(self.output, self.place)
        kept.fetch_all(self.needs)
        kept.fetch(self.left(point).name, working=True)
        for metrics in self.trainable(point):
            kept.put(*self.left(point))
            yield metrics


def named(output: str, measured: Path) -> str:
    """Return the name of the manifest of a task, by the file that is there once it is done."""
    return measured.relative_to(output).as_posix()


def of_task(output: str, names: "Mapping[str, str]", point: "Point") -> Left:
    """Return what the trial of a task leaves: the folder of the task, and files that tasks share beside it."""
    name = names[str(point["name"])]
    root, folder, *_ = Path(name).parts
    shared = (file for file in (Path(output) / root).glob("*") if file.is_file())
    return Left(name, (Path(output) / root / folder, *shared))
