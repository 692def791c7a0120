"""Manifest: what an index holds, with the size and checksum of its every file."""

from typing import Literal

from pydantic import Field, ValidationError

from stages.base import Spec
from stages.models.descriptors.spec import Metric
from stages.storage import filesystem, read

NAME = "index.json"


class IndexFile(Spec):
    """One file of an index."""

    path: str = Field(pattern=r"^[a-z]+(/\d{5})?\.[a-z]+$", description="Below the index's folder.")
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    def refuse_size(self, place: str, size: int | None) -> None:
        """Raise `ValueError` where the file is missing, which is a size of None, or of another length."""
        if size is None:
            raise ValueError(f"index {place}: expected {self.path}, found none; build the index again")
        if size != self.bytes:
            raise ValueError(
                f"index {place}: expected {self.path} to have {self.bytes} bytes, found {size}; "
                "copy or build the index again"
            )

    def refuse_contents(self, place: str, found: str) -> None:
        """Raise `ValueError` where the file has another SHA-256."""
        if found != self.sha256:
            raise ValueError(
                f"index {place}: expected {self.path} to have SHA-256 {self.sha256}, found {found}; "
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


def read_manifest(place: str) -> Manifest:
    """Return the manifest of an index in a folder or at a URI; raises `ValueError`."""
    from pyarrow.fs import FileType

    try:
        fs, root = filesystem(place)
        try:  # the file itself: object storage may list a new folder late
            return Manifest.model_validate_json(read(fs, f"{root}/{NAME}").to_pybytes())
        except (FileNotFoundError, NotADirectoryError):
            there = fs.get_file_info(root).type == FileType.Directory
            wanted = f"{NAME}, found none; build the index, or let its build finish"
            raise ValueError(
                f"index {place}: expected {wanted if there else 'the folder of an index, found none'}"
            ) from None
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise ValueError(f"index {place}: expected a manifest in {NAME}, found another text ({reason})") from None
    except OSError as error:
        raise ValueError(f"index {place}: expected to be able to read it, found {error}") from error
