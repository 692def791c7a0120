"""Picture files of strangers: decoded, or refused with the reason in one sentence."""

import hashlib
import io
from functools import cache
from typing import NamedTuple

import numpy as np
import PIL.Image

from pipelines.save import png

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
MAX_PIXELS = 64_000_000
MAX_BYTES = 2**28
JPEG_QUALITY = 85
DEEP = ("I", "F")
"""Pillow's modes of more than 8 bits, which it would clip."""


class Picture(NamedTuple):
    """A decoded picture, what identifies its pixels, and a small copy to show, if one is wanted."""

    pixels: np.ndarray
    """uint8 [h w 3]"""
    hash: str
    thumbnail: bytes | None


def read_picture(data: bytes, thumbnail_px: int = 64) -> Picture:
    """Return the first frame of a picture file; raises `ValueError` with the reason for anything else.

    Transparency is dropped and EXIF rotation ignored, as the published descriptors did with their pictures.
    """
    pixels = decoded(data)
    return Picture(pixels, pixel_hash(pixels), thumbnail(pixels, thumbnail_px) if thumbnail_px else None)


def decoded(data: bytes) -> np.ndarray:
    """Return the pixels uint8 [h w 3] of a picture file; raises `ValueError`."""
    if not data:
        raise ValueError("an empty file")
    if len(data) > MAX_BYTES:
        raise ValueError(f"a file of more than {MAX_BYTES} bytes")
    try:
        with PIL.Image.open(io.BytesIO(data), formats=readable()) as image:
            refuse(image)
            return np.asarray(red_green_blue(image))
    except PIL.UnidentifiedImageError:
        raise ValueError(f"no picture: none of {', '.join(FORMATS)}") from None
    except Refused:
        raise
    except Exception as error:  # a damaged file can raise anything in Pillow
        raise ValueError(f"a damaged picture: {' '.join(str(error).split())[:120] or type(error).__name__}") from None


@cache
def readable() -> list[str]:
    """Return those formats that this Pillow was built with; the exotic ones of Pillow are left to others."""
    PIL.Image.init()
    return [name for name in FORMATS if name in PIL.Image.OPEN]


class Refused(ValueError):  # noqa: N818  reads as what happened
    """A whole picture that is not taken."""


def refuse(image: PIL.Image.Image) -> None:
    """Raise `Refused` before the pixels are decoded: too many would fill the memory, deep ones would be clipped."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Refused(f"a picture of {width} x {height} pixels, more than {MAX_PIXELS}")
    if image.mode.startswith(DEEP):
        raise Refused(f"a picture of mode {image.mode}, more than 8 bits a channel")


def red_green_blue(image: PIL.Image.Image) -> PIL.Image.Image:
    """Return the image as RGB."""
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def pixel_hash(pixels: np.ndarray) -> str:
    """Return 32 hex digits that are equal for exact duplicates: BLAKE2 of the size and the pixels."""
    return hashlib.blake2b(f"{pixels.shape}".encode() + pixels.tobytes(), digest_size=16).hexdigest()


def thumbnail(pixels: np.ndarray, side: int) -> bytes:
    """Return a copy with no side longer than `side`: a PNG file of a picture that is small already, else a JPEG."""
    image = PIL.Image.fromarray(pixels)
    if max(image.size) <= side:
        return png(pixels)
    image.thumbnail((side, side), PIL.Image.Resampling.BOX)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()
