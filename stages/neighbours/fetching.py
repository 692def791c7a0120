"""Vectors of an index behind a URI, fetched once a machine, checked, and kept in the user's cache."""

from pathlib import Path

import platformdirs

from stages.base import digest
from stages.models.fetching import fetched
from stages.neighbours.manifest import IndexFile, Manifest
from stages.storage import copied, filesystem


def folder(manifest: Manifest) -> Path:
    """Return the folder of this machine for the files of an index, which its contents name."""
    return platformdirs.user_cache_path("seedquake") / "indexes" / digest(manifest.model_dump(mode="json"))[:16]


def fetch(place: str, file: IndexFile, folder: Path) -> Path:
    """Return a file of the index at a URI on this machine; raises `ValueError` where it is not the manifest's."""
    path = folder / file.path
    return fetched(path, lambda: _copy(place, file, path))


def _copy(place: str, file: IndexFile, path: Path) -> None:
    fs, root = filesystem(place)
    try:
        with copied(fs, f"{root}/{file.path}", path) as found:
            file.refuse_contents(place, found)
    except FileNotFoundError:
        file.refuse_size(place, None)
