"""The embedded models: small real models that this project trained on its own image world, and their cards.

Loaders take a folder: `StableDiffusionPipeline.from_pretrained(path("text-to-image"))`,
`timm.create_model(f"local-dir:{path('classifier')}", pretrained=True)`,
`open_clip.create_model_and_transforms(f"local-dir:{path('clip')}")`.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import platformdirs
from pydantic import Field, JsonValue

from stages.base import Spec

NAMES = (
    "text-to-image",
    "text-to-image-lcm",
    "latent-learned",
    "pixel-fixed",
    "pixel-learned",
    "glide-like",
    "classifier",
    "judge",
    "clip",
    "descriptor",
    "pixel-unet",
    "pixel-transformer",
    "scenes",
    "scenes-style",
    "scenes-edges",
    "scenes-judge",
    "scenes-clip",
    "scenes-lm",
)
WEIGHTS = Path(__file__).parent / "weights"


class Figure(Spec):
    """A measured quality, with its 95 % interval: Wilson for shares, normal for means, or the metric's own."""

    name: str
    value: float
    low: float
    high: float
    n: int = Field(ge=1, description="Number of pictures.")


class Card(Spec):
    """What an embedded model is, how it was made, how good it is, and what it is not for."""

    name: str
    summary: str
    architecture: str
    licence: str = "Apache-2.0"
    data: str = Field(description="Ranges of indices of the image world.")
    settings: dict[str, JsonValue] = Field(description="The training specs, by part of the model.")
    cpu_minutes: float = Field(ge=0, description="Training time of what was trained for it, in minutes of one core.")
    figures: tuple[Figure, ...]
    limits: tuple[str, ...]
    sha256: dict[str, str] = Field(description="Checksum of each file, by its path in the folder.")
    shared: dict[str, str] = Field(
        {}, description="Files that lie with another model, which has the same: where, from the folder of all models."
    )


def card(name: str) -> Card:
    """Return the card of an embedded model."""
    if name not in NAMES:
        raise ValueError(f"zoo: the embedded models are {', '.join(NAMES)}, but {name!r} was asked for")
    return Card.model_validate_json((WEIGHTS / name / "card.json").read_text())


@cache
def path(name: str) -> Path:
    """Return the folder of an embedded model, once its files have passed their checksums."""
    known = card(name)
    places = {file: WEIGHTS / known.shared.get(file, f"{name}/{file}") for file in known.sha256}
    for file, where in places.items():
        if not where.is_file():
            raise ValueError(f"zoo: {where} is missing; install the package again")
        if (found := checksum(where)) != known.sha256[file]:
            raise ValueError(
                f"zoo: {where} should have SHA-256 {known.sha256[file]}, but has {found}; install the package again"
            )
    return gathered(name, places, known.sha256) if known.shared else WEIGHTS / name


def gathered(name: str, places: Mapping[str, Path], sums: Mapping[str, str]) -> Path:
    """Return a folder, in the user's cache, of links to a model's files, wherever they lie.

    Raises `ValueError` where no cache can be written.
    """
    told = "\n".join(f"{file} {where} {sums[file]}" for file, where in places.items())
    folder = (
        platformdirs.user_cache_path("seedquake") / "zoo" / f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    )
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
    except OSError as error:
        raise ValueError(
            f"zoo: expected a cache that can be written at {folder.parent}, found none ({error.strerror}); "
            "set XDG_CACHE_HOME to a folder of yours"
        ) from error
    for file, where in places.items():
        link(partial / file, where)
    try:
        partial.rename(folder)
    except OSError:  # another process was first
        shutil.rmtree(partial)
    return folder


def link(new: Path, file: Path) -> None:
    """Make a link to a file, or a copy where the file system has no links."""
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        new.symlink_to(file)
    except OSError:
        shutil.copyfile(file, new)


def checksum(file: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
