"""Manifest: what an index holds, with the size and checksum of its every file."""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from stages.base import Spec
from stages.models.descriptors.spec import Metric

NAME = "index.json"


class IndexFile(Spec):
    """One file of an index."""

    path: str = Field(pattern=r"^[a-z]+(/\d{5})?\.[a-z]+$", description="Below the index's folder.")
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    def refuse_other(self, folder: Path, deep: bool) -> None:
        """Raise `ValueError` where the file is missing or of another length, or, if `deep`, of other contents."""
        path = folder / self.path
        if not path.is_file():
            raise ValueError(f"index {folder}: expected {self.path}, found none; build the index again")
        if (size := path.stat().st_size) != self.bytes:
            raise ValueError(
                f"index {folder}: expected {self.path} to have {self.bytes} bytes, found {size}; "
                "copy or build the index again"
            )
        if deep and (found := sha256(path)) != self.sha256:
            raise ValueError(
                f"index {folder}: expected {self.path} to have SHA-256 {self.sha256}, found {found}; "
                "copy or build the index again"
            )


class ShardFiles(Spec):
    """The vectors of consecutive items, and what is known of those items."""

    rows: int = Field(gt=0)
    vectors: IndexFile
    items: IndexFile


class Manifest(Spec):
    """What an index holds."""

    version: Literal[1] = Field(1, description="Of the format.")
    score: str = Field(min_length=1, description="Name of the scores: descriptor and resizing.")
    model: str = Field(min_length=1, description="The descriptor.")
    weights: str = Field(min_length=1, description="Fingerprint of the descriptor's weights.")
    metric: Metric
    dimension: int = Field(gt=0)
    dtype: Literal["float16", "float32"] = Field(description="Of the stored vectors.")
    count: int = Field(gt=0, description="References.")
    quarantined: int = Field(ge=0, description="Entries of the source that gave no reference.")
    source: str
    settings: str = Field(description="Hash of everything that determines the references.")
    shards: tuple[ShardFiles, ...]
    quarantine: IndexFile

    @property
    def files(self) -> list[IndexFile]:
        """Return every file but the manifest itself."""
        return [self.quarantine, *(file for shard in self.shards for file in (shard.vectors, shard.items))]

    def refuse_other(self, score: str, weights: str, where: str) -> None:
        """Raise `ValueError` where these references were not described as the queries are."""
        if score != self.score:
            raise ValueError(f"{where}: expected an index of {score}, found one of {self.score}; build one of {score}")
        if weights != self.weights:
            raise ValueError(
                f"{where}: expected an index made with the weights {weights} of {self.model}, "
                f"found one of {self.weights}; build it again"
            )


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of an index; raises `ValueError`."""
    if not folder.is_dir():
        raise ValueError(f"index {folder}: expected the folder of an index, found none")
    try:
        return Manifest.model_validate_json((folder / NAME).read_bytes())
    except FileNotFoundError:
        raise ValueError(
            f"index {folder}: expected {NAME}, found none; build the index, or let its build finish"
        ) from None
    except (ValidationError, OSError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise ValueError(f"index {folder}: expected a manifest in {NAME}, found another text ({reason})") from None


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
