"""Training sets: pictures of one size in memory, with their classes where they have some."""

import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
from jaxtyping import Int64
from pydantic import Field

from stages.arrays import Images
from stages.base import Spec
from stages.models.zoo import world
from stages.randomness import rng

Rows: TypeAlias = Int64[np.ndarray, " n"]
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


@dataclass(frozen=True)
class Pictures:
    """Pictures of one size; `labels` are positions in `classes`, and zero where there are no classes."""

    images: Images
    labels: Rows
    classes: tuple[str, ...] = ()

    def digest(self) -> str:
        """Return 32 hex digits of the hash of pixels and classes."""
        found = hashlib.blake2b(self.images.tobytes(), digest_size=16)
        found.update(self.labels.tobytes() + "\x1f".join(self.classes).encode())
        return found.hexdigest()


class WorldPictures(Spec):
    """Renders of the embedded models' image world, or of a part of it with fewer degrees of freedom."""

    kind: Literal["world"] = "world"
    side_px: int = Field(16, ge=2, le=world.PIXELS, description="Side of the box-averaged picture.")
    first: int = Field(0, ge=0, description="First index of the world.")
    count: int = Field(64_000, ge=1, description="Pictures.")
    objects: tuple[str, ...] = Field(world.CLASSES, min_length=1, description="Objects that occur, equally often.")
    colours: tuple[str, ...] = Field(world.COLOURS, min_length=1, description="Colours that occur, equally often.")
    plain: bool = Field(False, description="The same plain background behind every object.")
    classes: bool = Field(True, description="Whether the objects are classes that a model may be told.")

    def size(self) -> int:
        """Return the number of pictures."""
        return self.count

    def load(self, rows: Rows) -> Pictures:
        """Return the pictures with these numbers."""
        index = self.first + rows
        names = self.objects if self.classes else ()
        shape = index % len(self.objects)
        parts = [self._draw(index[i : i + 16]) for i in range(0, len(index), 16)]
        return Pictures(np.concatenate(parts), shape if names else np.zeros_like(shape), names)

    def _draw(self, index: Rows) -> Images:
        shape, colour = index % len(self.objects), index // len(self.objects) % len(self.colours)
        scene = world.scene(index)
        (thing,) = scene.things
        thing = replace(
            thing,
            shape=np.array([world.CLASSES.index(name) for name in self.objects])[shape],
            colour=np.array([world.COLOURS.index(name) for name in self.colours])[colour],
        )
        background = scene.background
        if self.plain:
            none = np.zeros_like(background.colour)
            background = replace(background, colour=none, pattern=none, light=np.ones_like(background.light))
        return resized(world.draw(world.Scene(background, (thing,))), self.side_px)


class ParquetPictures(Spec):
    """Rows of a Parquet file with the Hugging Face image schema: struct{bytes, path} and, if wanted, a class column."""

    kind: Literal["parquet"] = "parquet"
    path: str = Field(min_length=1)
    side_px: int = Field(32, ge=2)
    image: str = Field("image", description="Column of the pictures.")
    label: str | None = Field(None, description="Column of the classes; null: the pictures have none.")

    def size(self) -> int:
        """Return the number of rows."""
        return int(self._file().metadata.num_rows)

    def load(self, rows: Rows) -> Pictures:
        """Return the pictures with these row numbers."""
        table = self._file().read(columns=[c for c in (self.image, self.label) if c]).take(rows)
        data = [row["bytes"] for row in table[self.image].to_pylist()]
        images = squares((io.BytesIO(b) for b in data), self.side_px)
        if self.label is None:
            return Pictures(images, np.zeros(len(rows), np.int64))
        return Pictures(images, table[self.label].to_numpy().astype(np.int64), self._classes())

    def _file(self) -> pq.ParquetFile:
        if not Path(self.path).is_file():
            raise ValueError(f"pictures.path: expected a Parquet file with a column {self.image}, found no {self.path}")
        return pq.ParquetFile(self.path)

    def _classes(self) -> tuple[str, ...]:
        """Return the names of the classes from the Hugging Face schema."""
        schema = json.loads((self._file().schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
        names = schema.get("info", {}).get("features", {}).get(self.label, {}).get("names")
        if not names:
            raise ValueError(f"{self.path}: expected the names of the classes of {self.label!r} in its schema")
        return tuple(names)


class FolderPictures(Spec):
    """Pictures in a folder; where it has subfolders, these are the classes."""

    kind: Literal["folder"] = "folder"
    path: str = Field(min_length=1)
    side_px: int = Field(32, ge=2)

    def size(self) -> int:
        """Return the number of pictures."""
        return len(self._files())

    def load(self, rows: Rows) -> Pictures:
        """Return the pictures with these numbers, in the order of their paths."""
        files = [self._files()[row] for row in rows]
        places = [file.parent.relative_to(self.path).as_posix() for file in files]
        classes = tuple(sorted({file.parent.relative_to(self.path).as_posix() for file in self._files()} - {"."}))
        labels = np.array([classes.index(place) if classes else 0 for place in places], np.int64)
        return Pictures(squares(files, self.side_px), labels, classes)

    def _files(self) -> list[Path]:
        if not (found := sorted(f for f in Path(self.path).rglob("*") if f.suffix.lower() in SUFFIXES)):
            raise ValueError(
                f"pictures.path: expected a folder with pictures ({', '.join(SUFFIXES)}), found {self.path}"
            )
        return found


AnyPictures: TypeAlias = Annotated[WorldPictures | ParquetPictures | FolderPictures, Field(discriminator="kind")]


class TrainingSet(Spec):
    """`count` pictures of part `part` of a source that is dealt out at random into disjoint parts.

    Sets of one part are nested: the smaller is the beginning of the larger.
    """

    source: AnyPictures
    count: int | None = Field(None, ge=1, description="Pictures; null: the whole part.")
    part: int = Field(0, ge=0)
    parts: int = Field(1, ge=1)
    seed: int = Field(0, ge=0, description="Seed of the dealing.")

    def share(self) -> int:
        """Return how many pictures a part has."""
        return self.source.size() // self.parts

    def rows(self) -> Rows:
        """Return the row numbers in the source."""
        share, wanted = self.share(), self.count
        if self.part >= self.parts or (wanted or 1) > share:
            raise ValueError(
                f"training set: expected at most {share} pictures, a part of {self.parts} of {self.source.size()}, "
                f"found {wanted or 'all'} of part {self.part}"
            )
        return self._dealt()[self.part * share : (self.part + 1) * share][:wanted]

    def unseen(self, count: int) -> Rows:
        """Return at most `count` row numbers of the source that are not in this set."""
        dealt = self._dealt()
        return dealt[~np.isin(dealt, self.rows())][-count:]

    def _dealt(self) -> Rows:
        return rng(self.seed, "parts").permutation(self.source.size()).astype(np.int64)

    def load(self) -> Pictures:
        """Return the pictures."""
        return self.source.load(self.rows())


def resized(images: Images, side_px: int) -> Images:
    """Return square pictures box-averaged to `side_px`."""
    if images.shape[1] == side_px:
        return images
    return np.stack([np.asarray(_box(PIL.Image.fromarray(image), side_px)) for image in images])


def squares(files: Iterable[Path | io.BytesIO], side_px: int) -> Images:
    """Return the pictures as RGB, their middle squares box-averaged to `side_px`."""
    images = np.empty((0, side_px, side_px, 3), np.uint8)
    parts = []
    for file in files:
        with PIL.Image.open(file) as picture:
            side = min(picture.size)
            left, top = (picture.width - side) // 2, (picture.height - side) // 2
            square = picture.convert("RGB").crop((left, top, left + side, top + side))
            parts.append(np.asarray(_box(square, side_px)))
    return np.stack(parts) if parts else images


def _box(picture: PIL.Image.Image, side_px: int) -> PIL.Image.Image:
    return picture.resize((side_px, side_px), PIL.Image.Resampling.BOX)
