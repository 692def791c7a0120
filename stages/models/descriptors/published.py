"""The published SSCD files: Pizzi et al. 2022 (arXiv:2202.10261), MIT licence. Imports no heavy library."""

import re
from typing import NamedTuple

ADDRESS = "https://dl.fbaipublicfiles.com/sscd-copy-detection/{name}.torchscript.pt"
SHORT_PX, SQUARE_PX = 288, 320
"""The two published preprocessings: the short side resized to 288, or the picture squeezed to 320 x 320."""

MODEL = re.compile(r"sscd:(?P<name>\w+)(?:@(?P<sha256>[0-9a-f]{64}))?")


class Published(NamedTuple):
    """One published file: the length of its vectors, and its SHA-256, None where no source states it.

    The project publishes no checksums. That of sscd_disc_mixup is stated by several unrelated projects that fetched it.
    """

    dimension: int
    sha256: str | None


PUBLISHED = {
    "sscd_disc_blur": Published(512, None),
    "sscd_disc_advanced": Published(512, None),
    "sscd_disc_mixup": Published(512, "9f26bd4c848cc19b73d2ae92eea6e04886f61a7b764ceb7a13aeee62e6a6db56"),
    "sscd_disc_large": Published(1024, None),
    "sscd_imagenet_blur": Published(512, None),
    "sscd_imagenet_advanced": Published(512, None),
    "sscd_imagenet_mixup": Published(512, None),
}


class Pin(NamedTuple):
    """A published name, and the SHA-256 that its file must have; None where neither the model nor a source says it."""

    name: str
    sha256: str | None


def pin(model: str) -> Pin:
    """Return what `sscd:NAME[@SHA256]` says."""
    match = MODEL.fullmatch(model)
    if match is None or match["name"] not in PUBLISHED:
        raise ValueError(
            f"descriptor {model!r}: expected sscd:NAME or sscd:NAME@SHA256, NAME one of {', '.join(PUBLISHED)}"
        )
    return Pin(match["name"], match["sha256"] or PUBLISHED[match["name"]].sha256)


def sha256(model: str) -> str:
    """Return the SHA-256 that the file of `sscd:NAME[@SHA256]` must have."""
    name, known = pin(model)
    if known is None:
        raise ValueError(
            f"descriptor {model!r}: expected a checksum, since no source states one for this file; "
            f"write sscd:{name}@ and the SHA-256 of {ADDRESS.format(name=name)}"
        )
    return known
