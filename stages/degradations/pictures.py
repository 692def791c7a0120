"""Which picture a row of an inverse problem has measured. Imports no heavy library."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import numpy as np
from jaxtyping import Float32, UInt8
from pydantic import Field

from stages.base import Spec
from stages.models.zoo.world import HELD_OUT, render

SUFFIXES = (".png", ".jpg", ".jpeg")

Measured: TypeAlias = Float32[np.ndarray, "3 s s"]
"""A picture in [-1, 1]."""


class WorldPicture(Spec):
    """A render of the image world that no embedded model was trained on."""

    kind: Literal["world"] = "world"
    index: int | None = Field(None, ge=0, description=f"Index of the render; null is {HELD_OUT} + the row's seed.")

    def load(self, seed: int) -> UInt8[np.ndarray, "h w 3"]:
        """Return the row's picture."""
        return render([HELD_OUT + seed if self.index is None else self.index])[0]


class FolderPicture(Spec):
    """A picture of a folder, by its place among their sorted names; a row's id knows the path, not what lies there."""

    kind: Literal["folder"] = "folder"
    path: str = Field(description="A folder of PNG or JPEG files.")
    index: int | None = Field(None, ge=0, description="Place of the picture; null is the row's seed, wrapped around.")

    def load(self, seed: int) -> UInt8[np.ndarray, "h w 3"]:
        """Return the row's picture."""
        import PIL.Image

        files = sorted(file for file in Path(self.path).glob("*") if file.suffix.lower() in SUFFIXES)
        place = seed % max(len(files), 1) if self.index is None else self.index
        if place >= len(files):
            raise ValueError(f"measurement: expected a picture number {place} in {self.path}, found {len(files)} files")
        try:
            with PIL.Image.open(files[place]) as picture:
                return np.asarray(picture.convert("RGB"))
        except OSError:
            raise ValueError(f"measurement: expected a picture in {files[place]}, found none that opens") from None


AnyPicture: TypeAlias = Annotated[WorldPicture | FolderPicture, Field(discriminator="kind")]


@lru_cache(maxsize=512)
def measured(source: WorldPicture | FolderPicture, seed: int, side: int) -> Measured:
    """Return the row's picture at the model's size: averaged over blocks, never stretched."""
    picture = source.load(seed)
    height, width, _ = picture.shape
    if height != width or height % side:
        raise ValueError(
            f"measurement: expected a square picture whose side is a multiple of {side}, found {width} x {height}"
        )
    blocks = picture.reshape(side, height // side, side, width // side, 3).mean(axis=(1, 3))
    return (blocks / 127.5 - 1).astype(np.float32).transpose(2, 0, 1)
