"""Picture files, whole and damaged."""

import io
import struct
import zlib

import numpy as np
import PIL.Image

from stages.models.zoo.world import render


def encoded(index: int, kind: str = "PNG", side: int = 64, **options) -> bytes:
    image = PIL.Image.fromarray(render([index])[0]).resize((side, side))
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def of_mode(mode: str) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(render([1])[0]).convert(mode).save(file, "TIFF" if mode in ("CMYK", "F") else "PNG")
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A small PNG file that says it is a huge picture."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


DEEP = io.BytesIO()
PIL.Image.fromarray(np.full((4, 4), 60000, np.uint16)).save(DEEP, "PNG")

DAMAGED = {
    "empty": (b"", "an empty file"),
    "text": (b"this is no picture" * 9, "no picture: none of AVIF, BMP, "),
    "truncated": (encoded(1, "JPEG")[:600], "a damaged picture: "),
    "torn": (encoded(1, "PNG")[:600], "a damaged picture: "),
    "deep": (DEEP.getvalue(), "a picture of mode I;16, more than 8 bits a channel"),
    "float": (of_mode("F"), "a picture of mode F, more than 8 bits a channel"),
    "bomb": (bomb(9000, 9000), "a picture of 9000 x 9000 pixels, more than 64000000"),
    "huge bomb": (bomb(60000, 60000), "a damaged picture: Image size (3600000000 pixels) exceeds limit"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture: none of "),
}
