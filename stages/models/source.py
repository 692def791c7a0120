"""Where a model's files come from, and the fingerprint of their contents. Imports no heavy library."""

import hashlib
import importlib.metadata
import re
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from stages.models import zoo
from stages.models.descriptors import published

Library: TypeAlias = Literal["diffusers", "transformers", "timm", "open_clip", "descriptor"]

HUB_ID = re.compile(r"(?:hf-hub:)?(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
INDEX = {
    "diffusers": "model_index.json",
    "transformers": "config.json",
    "timm": "config.json",
    "open_clip": "open_clip_config.json",
}
NOT_A_MODEL = {".md", ".png", ".jpg", ".lock"}


class HubId(NamedTuple):
    """A repository on the Hugging Face hub."""

    repository: str
    revision: str | None


def folder(model: str) -> Path | None:
    """Return the local folder that `model` names, or None where it names something published."""
    if model.startswith("zoo:"):
        return zoo.path(model.removeprefix("zoo:"))
    text = model.removeprefix("local-dir:")
    path = Path(text).expanduser()
    if path.is_dir():
        return path
    if text != model or text.startswith(("/", "./", "../", "~")):
        raise FileNotFoundError(f"model {model!r}: expected a folder of weights, but {path} is none")
    return None


def descriptor_folder(model: str) -> Path:
    """Return the local folder of a descriptor's weights."""
    if path := folder(model):
        return path
    raise ValueError(f"descriptor {model!r} is neither sscd:NAME, pixels:SIDE, zoo:descriptor nor a local folder")


def stages_of(model: str) -> tuple[str, ...]:
    """Return the models that `model` names: FIRST+SECOND is two, unless it is a folder's name."""
    return (model,) if Path(model.removeprefix("local-dir:")).expanduser().is_dir() else tuple(model.split("+"))


def hub_id(model: str) -> HubId:
    """Return the hub repository that `model` names."""
    if (match := HUB_ID.fullmatch(model)) is None:
        raise ValueError(f"model {model!r} is neither zoo:NAME, nor a local folder, nor a hub id ORG/NAME[@REVISION]")
    return HubId(match["repository"], match["revision"])


class Location(NamedTuple):
    """What a library loads from: a folder, or a repository at one commit."""

    place: str
    revision: str | None


def locate(model: str, library: Library) -> Location:
    """Return the folder or the hub repository that `model` names."""
    if path := folder(model):
        return Location(str(path), None)
    hub = hub_id(model)
    return Location(hub.repository, commit(hub, INDEX[library]))


def fingerprint(model: str, library: Library = "diffusers") -> str:
    """Return the text that changes whenever the weights or settings behind `model` change.

    A folder: 32 hex digits of the SHA-256 over its files. A hub id: the commit. Any other published name of timm,
    torchvision or open_clip: the version of the library that pins its address. A published descriptor: its SHA-256.
    Of FIRST+SECOND both, joined in the same way.
    """
    if library == "diffusers" and len(parts := stages_of(model)) > 1:
        return "+".join(fingerprint(part) for part in parts)
    if library == "descriptor":
        return _of_descriptor(model)
    if path := folder(model):
        return _of_folder(path)
    if library in {"diffusers", "transformers"} or model.startswith("hf-hub:"):
        return commit(hub_id(model), INDEX[library])
    package = "torchvision" if model.startswith("torchvision:") else {"timm": "timm"}.get(library, "open_clip_torch")
    return f"{package}=={importlib.metadata.version(package)}"


def revision(model: str, dtype: str) -> str:
    """Return what a generator's rows are marked with: the fingerprint, and the number format where one is asked for."""
    return fingerprint(model) + ("" if dtype == "auto" else f"+{dtype}")


@lru_cache(maxsize=64)
def commit(hub: HubId, index: str) -> str:
    """Return the commit of a hub repository: the hub's if it answers, else that of the local cache."""
    from huggingface_hub import hf_hub_download

    if hub.revision and re.fullmatch(r"[0-9a-f]{40}", hub.revision):
        return hub.revision
    try:
        return Path(hf_hub_download(hub.repository, index, revision=hub.revision)).parent.name
    except (OSError, ValueError) as error:
        raise ValueError(
            f"model '{hub.repository}@{hub.revision or 'main'}': expected {index} on the hub or in the local cache, "
            f"but found neither ({type(error).__name__}); check the name and the network"
        ) from error


def _of_descriptor(model: str) -> str:
    if model.startswith("pixels:"):
        return "pixels"
    if model.startswith("sscd:"):
        return published.sha256(model)
    return _of_folder(descriptor_folder(model))


def _of_folder(path: Path) -> str:
    files = sorted(file for file in path.rglob("*") if file.is_file() and not _is_beside_the_model(file, path))
    if not any(file.suffix == ".safetensors" for file in files):
        raise FileNotFoundError(f"model folder {path}: expected weights in *.safetensors, but found none")
    stats = ((file, file.stat()) for file in files)
    parts = [f"{f.relative_to(path).as_posix()} {_sha256(f, s.st_size, s.st_mtime_ns)}" for f, s in stats]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _is_beside_the_model(file: Path, root: Path) -> bool:
    hidden = any(part.startswith((".", "__")) for part in file.relative_to(root).parts)
    return hidden or file.suffix in NOT_A_MODEL or file.stem == "card"


@lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, modified_ns: int) -> str:  # noqa: ARG001  the key of the cache
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
