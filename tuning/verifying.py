"""What became of a study's place: every file that a trial has published, compared with its SHA-256."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from pyarrow import fs as pafs

from pipelines.config import one_line
from pipelines.store import Store
from pipelines.verify import FILES_AT_ONCE, Verified, named_store, store_of, verify_table
from pipelines.verify import verify as verify_rows
from stages.storage import below, filesystem, sha256
from tuning.keeping import FILES, MANIFESTS, ROWS, Kept


def verify(run: str) -> Verified:
    """Read every file of a run, an output folder, a store or a study's place, and compare it with what was published.

    Raises `ValueError` where nothing is.
    """
    place = named_store(run) or run
    if not (names := list(published(place))):
        return verify_rows(store_of(run))
    found = verified(place, names)
    rows = Store(below(place, ROWS))  # of the questions that the study asks
    for table in rows.tables():
        verify_table(rows, table, found)
    return found


def published(place: str) -> Iterator[str]:
    """Yield the names of the trials that have published something in a place."""
    fs, root = filesystem(place)
    top = f"{root}/{MANIFESTS}/"
    for info in fs.get_file_info(pafs.FileSelector(top, allow_not_found=True, recursive=True)):
        if info.is_file and info.extension == "json" and not info.base_name.startswith("."):
            yield info.path.removeprefix(top).removesuffix(".json")


def verified(place: str, names: list[str]) -> Verified:
    """Return what is wrong with what these trials have published; a file that several name is read once."""
    found, wanted = Verified(), dict[tuple[str, str], str]()
    kept = Kept("", place)
    for name in names:
        try:
            wanted |= dict.fromkeys(kept.manifest(name).files.items(), name)
        except ValueError as error:
            found.defects.append(str(error))
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        found.defects += filter(None, pool.map(partial(defect, place), wanted.items()))
    found.files = len(wanted)
    return found


def defect(place: str, one: tuple[tuple[str, str], str]) -> str | None:
    """Return what is wrong with a file of a trial, None where it is as published."""
    (path, digest), name = one
    fs, root = filesystem(place)
    try:
        seen = sha256(fs, f"{root}/{FILES}/{path}/{digest}")
    except FileNotFoundError:
        seen = "no such file"
    except OSError as error:
        return f"{path}: expected to read it in {place}, found: {one_line(error)}; verify again later"
    if seen == digest:
        return None
    return (
        f"{path}: expected the file with SHA-256 {digest}, found {seen}; delete {FILES}/{path} and "
        f"{MANIFESTS}/{name}.json in {place}, and run the study again to make it"
    )
