"""The published SSCD descriptors: TorchScript files, verified before a byte of them is run."""

import hashlib
import io
import warnings
from pathlib import Path

import torch
from torch import nn

from stages.models.descriptors import published
from stages.models.descriptors.network import NetworkDescriptor, preprocess
from stages.models.descriptors.spec import DescriptorSpec, score_name, sizing
from stages.models.fetching import fetched

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load_sscd(spec: DescriptorSpec) -> NetworkDescriptor:
    """Return the published descriptor that `spec` names. A TorchScript file is code, so it is never run unverified."""
    name, sha256 = published.pin(spec.model)
    content = verified(cached(name), name, sha256)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.load` is", FutureWarning)  # the files exist in this format only
        network: nn.Module = torch.jit.load(io.BytesIO(content), map_location="cpu")
    steps = preprocess(sizing(spec), IMAGENET_MEAN, IMAGENET_STD)
    return NetworkDescriptor(score_name(spec), network, steps, published.PUBLISHED[name].dimension)


def cached(name: str) -> Path:
    """Return the file in torch's cache, downloaded unless it is there; it appears whole or not at all."""
    address = published.ADDRESS.format(name=name)
    path = Path(torch.hub.get_dir()) / "checkpoints" / f"{name}.torchscript.pt"
    try:
        return fetched(path, lambda: torch.hub.download_url_to_file(address, str(path), progress=False))
    except OSError as error:
        raise ValueError(f"no {path}, nor {address} ({error}); put the file there by hand") from error


def verified(path: Path, name: str, sha256: str | None) -> bytes:
    """Return a file's content; one whose checksum differs, or for which none is known, is refused."""
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if sha256 is None:
        raise ValueError(
            f"{path} with SHA-256 {found}, for which no source states a checksum; "
            f"if you trust this file, name it sscd:{name}@{found}"
        )
    if found != sha256:
        raise ValueError(f"{path} with SHA-256 {found}, not {sha256}; delete it to fetch it anew")
    return content
