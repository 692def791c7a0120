"""Classifiers: timm's, torchvision's SWAG, the zoo's; pictures in, all logits out."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
import torchvision  # type: ignore[import-untyped]
from jaxtyping import Float
from timm.data.config import resolve_model_data_config
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn

from stages.models.fetching import fetched
from stages.models.placement import Placement, place, settle
from stages.models.preprocess import Picture, Preprocess
from stages.models.source import folder
from stages.models.spec import ModelSpec
from stages.models.unreadable import UNREADABLE, first_line


class Seen(NamedTuple):
    """What a classifier makes of pictures."""

    features: Float[Tensor, "b d"]
    """What its last layer reads."""
    logits: Float[Tensor, "b k"]


class Classifier:
    """Pictures in, all logits out."""

    side: int | None = None
    """Of the square that it was trained on, in pixels; None where the model does not say."""

    def __init__(self, network: nn.Module, preprocess: Preprocess, classes: int, names: Sequence[str] | None) -> None:
        self.network = network.eval()
        self.classes = classes
        self.preprocess = preprocess
        self.names = tuple(names) if names else None
        """The classes in the order of the logits; None where the model does not say."""
        self.placement = Placement(torch.device("cpu"), torch.float32)

    def to(self, placement: Placement) -> "Classifier":
        """Move the weights to `placement`."""
        self.placement = placement
        settle(self.network, placement)
        return self

    @torch.inference_mode()
    def logits(self, pictures: Sequence[Picture]) -> Float[Tensor, "b k"]:
        """Return the logits of all classes."""
        logits: Tensor = self.network(self.preprocess(pictures).to(*self.placement)).float().cpu()
        return logits

    @torch.inference_mode()
    def seen(self, pictures: Sequence[Picture], sized: bool = False) -> Seen:
        """Return the features and the logits of one pass; pictures that are `sized` are neither resized nor cropped."""
        x = self.preprocess.normalised(pictures) if sized else self.preprocess(pictures)
        kept: list[Tensor] = []
        hook = self.head.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
        try:
            logits: Tensor = self.network(x.to(*self.placement))
        finally:
            hook.remove()
        return Seen(kept[-1].flatten(1).float().cpu(), logits.float().cpu())

    @property
    def head(self) -> nn.Module:
        """Return the last layer: as timm names it, else the last linear one."""
        network: Any = self.network
        if hasattr(network, "get_classifier"):
            named: nn.Module = network.get_classifier()
            return named
        linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
        if not linear:
            raise ValueError(
                f"features: expected a classifier with a linear last layer, found {type(network).__name__}"
            )
        return linear[-1]


def load_classifier(spec: ModelSpec) -> Classifier:
    """Return the classifier that `spec` names, on its device.

    `torchvision:ARCHITECTURE/WEIGHTS`, `zoo:NAME`, a local folder in timm's format, or whatever timm calls a model.
    Its type is float32 unless the spec says otherwise: rounding would move answers near a tie.
    """
    placement = place(spec)
    try:
        load = _torchvision if spec.model.startswith("torchvision:") else _timm
        return load(spec.model.removeprefix("torchvision:")).to(placement)
    except UNREADABLE as error:
        raise ValueError(
            f"classifier {spec.model!r}: expected readable weights, but found: {first_line(error)}"
        ) from error


def _timm(model: str) -> Classifier:
    path = folder(model)
    if path and not (path / "model.safetensors").is_file():
        raise FileNotFoundError(f"no model.safetensors in {path}")
    network: Any = timm.create_model(f"local-dir:{path}" if path else model, pretrained=True)
    config: dict[str, Any] = resolve_model_data_config(network)
    names: Sequence[str] | None = network.pretrained_cfg.get("label_names")
    if names is None and (subset := infer_imagenet_subset(network)):
        names = [str(name) for name in ImageNetInfo(subset).label_descriptions()]
    transform = create_transform(**config, is_training=False)
    side = config["input_size"][1]
    square = tuple(config["input_size"]) == (3, side, side) and math.floor(side / config["crop_pct"]) == side
    preprocess = Preprocess(transform, (side, side) if square else None, config["mean"], config["std"])
    classifier = Classifier(network, preprocess, network.num_classes, names)
    classifier.side = side
    return classifier


class Download(NamedTuple):
    """Weights at an address that carries the first digits of their SHA-256."""

    url: str

    @property
    def digits(self) -> str:
        """The digits: after the last hyphen of the file name."""
        return Path(self.url).stem.rsplit("-", 1)[-1]

    def fetch(self) -> Path:
        """Return the verified file, downloaded unless torch's cache has it."""
        path = Path(torch.hub.get_dir()) / "checkpoints" / Path(self.url).name
        fetched(
            path,
            lambda: torch.hub.download_url_to_file(self.url, str(path), hash_prefix=self.digits, progress=False),
        )
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if not found.startswith(self.digits):
            raise ValueError(
                f"{path} with SHA-256 {found[: len(self.digits)]}..., not {self.digits}...; delete it to fetch it anew"
            )
        return path


def _torchvision(name: str) -> Classifier:
    architecture, _, tag = name.partition("/")
    choices = torchvision.models.get_model_weights(architecture)
    if tag not in choices.__members__:
        raise ValueError(f"no weights {tag!r} among {sorted(choices.__members__)}")
    weights = choices[tag]
    state = torch.load(Download(weights.url).fetch(), map_location="cpu", weights_only=True)
    names = weights.meta["categories"]
    extra: dict[str, Any] = {"image_size": weights.meta["min_size"][0]} if architecture.startswith("vit_") else {}
    if architecture in ("inception_v3", "googlenet"):  # ported weights, whose inputs the network itself brings back
        extra = {"transform_input": True, "init_weights": False}
    network = torchvision.models.get_model(architecture, num_classes=len(names), **extra)
    network.load_state_dict(state)
    preset = weights.transforms()
    side = preset.crop_size[0] if preset.crop_size == preset.resize_size else None
    preprocess = Preprocess(preset, (side, side) if side else None, preset.mean, preset.std)
    classifier = Classifier(network, preprocess, len(names), names)
    classifier.side = preset.crop_size[0]
    return classifier
