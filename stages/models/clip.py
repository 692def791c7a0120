"""CLIP: how well a picture fits a prompt."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import open_clip
import PIL.Image
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from stages.models.placement import Placement, place, settle
from stages.models.preprocess import Picture, Preprocess
from stages.models.source import folder
from stages.models.spec import ModelSpec
from stages.models.unreadable import UNREADABLE, first_line

PROMPTS_KEPT = 4096
"""Text embeddings that an actor keeps: a few kilobytes each."""


class Clip:
    """An open_clip model: unit-norm embeddings of pictures and prompts. Text is encoded once per prompt."""

    def __init__(
        self,
        network: open_clip.CLIP,
        preprocess: Preprocess,
        tokenizer: open_clip.SimpleTokenizer | open_clip.tokenizer.HFTokenizer,
        placement: Placement,
    ) -> None:
        settle(network, placement)
        self.network = network
        self.preprocess = preprocess
        self.tokenizer = tokenizer
        self.placement = placement
        self.text = lru_cache(maxsize=PROMPTS_KEPT)(self._text)

    @torch.inference_mode()
    def pictures(self, pictures: Sequence[Picture]) -> Float[Tensor, "b d"]:
        """Return the unit-norm embeddings of pictures."""
        x = self.preprocess(pictures).to(*self.placement)
        return normalize(self.network.encode_image(x).float(), dim=-1).cpu()

    @torch.inference_mode()
    def _text(self, prompt: str) -> Float[Tensor, " d"]:
        tokens = self.tokenizer([prompt]).to(self.placement.device)
        return normalize(self.network.encode_text(tokens).float(), dim=-1)[0].cpu()

    def cosine(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> Float[Tensor, " b"]:
        """Return the cosine between each picture and its prompt."""
        text = torch.stack([self.text(prompt) for prompt in prompts])
        return (self.pictures(pictures) * text).sum(dim=-1)


def load_clip(spec: ModelSpec) -> Clip:
    """Return the CLIP that `spec` names, on its device.

    `zoo:NAME`, a local folder, `hf-hub:ORG/NAME` or open_clip's `NAME/PRETRAINED`.
    """
    placement = place(spec)
    try:
        name, pretrained = _names(spec.model)
        network, transform = open_clip.create_model_from_pretrained(name, pretrained=pretrained)
        tokenizer = open_clip.get_tokenizer(name)
    except UNREADABLE as error:
        raise ValueError(f"CLIP {spec.model!r}: expected readable weights, but found: {first_line(error)}") from error
    return Clip(network.eval(), _preprocess(network, transform), tokenizer, placement)


def _names(model: str) -> tuple[str, str | None]:
    if path := folder(model):
        if not any(path.glob("*.safetensors")):
            raise FileNotFoundError(f"no *.safetensors in {path}")
        return f"local-dir:{path}", None
    if model.startswith("hf-hub:"):
        return model, None
    name, _, pretrained = model.partition("/")
    if pretrained not in (known := open_clip.list_pretrained_tags_by_model(name)):
        raise ValueError(f"no weights {pretrained!r} for {name!r}, for which open_clip knows {known}")
    return name, pretrained


def _preprocess(network: open_clip.CLIP, transform: Callable[[PIL.Image.Image], Tensor]) -> Preprocess:
    # of a square size, resizing (of any mode) and cropping change nothing
    config = network.visual.preprocess_cfg
    size = config["size"]
    side = size if isinstance(size, int) else size[0] if size[0] == size[1] else None
    return Preprocess(transform, (side, side) if side else None, config["mean"], config["std"])
