"""The CLIP: a trunk that starts from the classifier's, and a text tower that also serves the text-to-image model."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
import open_clip
import torch
from jaxtyping import Bool, Float, Int64
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from stages.base import Spec
from stages.models.zoo import scenes, world
from stages.models.zoo.sentences import texts
from tuning.training.zoo import tokenizer
from tuning.training.zoo.augment import AugmentSpec, augment
from tuning.training.zoo.classifier import MEAN, STD, normalise
from tuning.training.zoo.data import Grammar, indices, pictures
from tuning.training.zoo.loop import LoopSpec, Recipe, generator

LARGEST_SCALE = 50.0


class ClipSpec(Spec):
    """A small CLIP with its tokenizer."""

    kind: Literal["clip"] = "clip"
    architecture: str = "test_resnet"
    grammar: Grammar = "thing"
    trunk: Literal["classifier", "scenes-style"] = Field(
        "classifier",
        exclude_if=lambda value: value == "classifier",
        description="Classifier whose trunk the image tower starts from.",
    )
    width: int = 128
    layers: int = 3
    heads: int = 4
    vocabulary: tokenizer.TokenizerSpec = tokenizer.TokenizerSpec()
    images: int = Field(default=200_000, ge=1, description="Size of the training set: the first indices of the world.")
    no_colour: float = Field(default=0.1, ge=0, le=1, description="Share of captions of things without their colour.")
    augment: AugmentSpec = AugmentSpec(cast=0.2, exposure=0.25, contrast=0.7, cloud=0.2, share=0.4)
    loop: LoopSpec


class ClipRecipe(Recipe[ClipSpec, open_clip.CLIP]):
    """Contrastive learning where every picture that a caption is true of counts as its partner."""

    def __init__(self, spec: ClipSpec, work: Path, classifier: Path, device: str = "cpu") -> None:
        self.spec, self.device = spec, device
        self.tokens = tokenizer.write(work, spec.vocabulary)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.loop.seed)
            self.module = open_clip.CLIP(**model_config(spec, len(self.tokens))).to(device).train()
        trunk = {k: v for k, v in load_file(classifier / "model.safetensors").items() if not k.startswith("fc.")}
        self.module.visual.trunk.load_state_dict(trunk)

    def loss(self, step: int) -> Tensor:
        """Return the loss of one step."""
        spec, seed = self.spec, self.spec.loop.seed
        index = indices(step, spec.loop.batch, spec.images)
        said, true = self._said(index, step)
        x = augment(pictures(index, spec.grammar), spec.augment, generator(seed, "augment", step))
        ids = tokenize(self.tokens, said)
        image, text, scale = self.module(normalise(x).to(self.device), ids.to(self.device))
        share = true.float().to(self.device)
        logits = scale.clamp(max=LARGEST_SCALE) * image @ text.T
        by_image = functional.cross_entropy(logits, share / share.sum(dim=1, keepdim=True))
        by_text = functional.cross_entropy(logits.T, share.T / share.T.sum(dim=1, keepdim=True))
        return (by_image + by_text) / 2

    def _said(self, index: Int64[np.ndarray, " b"], step: int) -> tuple[list[str], Bool[Tensor, "b b"]]:
        """Return the step's captions, and which of them (column) is true of which picture (row)."""
        if self.spec.grammar == "scene":
            claims = scenes.claims(index)
            return texts(claims), torch.from_numpy(scenes.true_of(index, claims))
        chance = torch.rand(len(index), generator=generator(self.spec.loop.seed, "caption", step))
        plain = chance < self.spec.no_colour
        return captions(index, plain), true_of(index, plain)

    def save(self, module: open_clip.CLIP, folder: Path) -> None:
        """Write a folder that open_clip loads as `local-dir:...`."""
        tokenizer.write(folder, self.spec.vocabulary)
        with torch.no_grad():
            module.logit_scale.clamp_(max=float(np.log(LARGEST_SCALE)))
        save_file({k: v.contiguous() for k, v in module.state_dict().items()}, folder / "open_clip_model.safetensors")
        preprocess = {"size": [world.PIXELS] * 2, "mean": MEAN, "std": STD, "interpolation": "bicubic"}
        config = {"model_cfg": model_config(self.spec, len(self.tokens)), "preprocess_cfg": preprocess}
        (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")


def model_config(spec: ClipSpec, vocabulary: int) -> dict[str, object]:
    """Return open_clip's description of the model."""
    vision = {"timm_model_name": spec.architecture, "timm_model_pretrained": False, "timm_pool": "avg"}
    text = {
        "context_length": tokenizer.CONTEXT,
        "vocab_size": vocabulary,
        "hf_tokenizer_name": "clip",  # only says that the folder has a tokenizer of its own
        "width": spec.width,
        "heads": spec.heads,
        "layers": spec.layers,
    }
    return {
        "embed_dim": spec.width,
        "vision_cfg": vision | {"timm_proj": "linear", "image_size": world.PIXELS},
        "text_cfg": text,
    }


def tokenize(tokens: CLIPTokenizer, texts: list[str]) -> Int64[Tensor, "b t"]:
    """Return the token numbers of texts, padded to the context."""
    ids: Tensor = tokens(
        texts, padding="max_length", truncation=True, max_length=tokenizer.CONTEXT, return_tensors="pt"
    ).input_ids
    return ids


def captions(index: Int64[np.ndarray, " b"], plain: Bool[Tensor, " b"]) -> list[str]:
    """Return the captions of renders, without the colour where `plain`."""
    names = zip(world.labels(index), world.colours(index), plain.tolist(), strict=True)
    return [world.caption(world.CLASSES[k], "" if bare else world.COLOURS[c]) for k, c, bare in names]


def true_of(index: Int64[np.ndarray, " b"], plain: Bool[Tensor, " b"]) -> Bool[Tensor, "b b"]:
    """Return which caption (column) is true of which picture (row)."""
    label, colour = torch.from_numpy(world.labels(index)), torch.from_numpy(world.colours(index))
    same_colour = (colour[:, None] == colour[None, :]) | plain[None, :]
    return (label[:, None] == label[None, :]) & same_colour


def text_model(clip: Path) -> CLIPTextModel:
    """Return the text tower of a folder written by `ClipRecipe.save`, as transformers' CLIPTextModel."""
    text = json.loads((clip / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    end = text["vocab_size"] - 1
    config = CLIPTextConfig(
        vocab_size=text["vocab_size"],
        hidden_size=text["width"],
        intermediate_size=4 * text["width"],
        projection_dim=text["width"],
        num_hidden_layers=text["layers"],
        num_attention_heads=text["heads"],
        max_position_embeddings=text["context_length"],
        hidden_act="gelu",
        bos_token_id=end - 1,
        eos_token_id=end,
        pad_token_id=end,
    )
    model = CLIPTextModel(config)
    model.load_state_dict(_renamed(load_file(clip / "open_clip_model.safetensors"), model), strict=False)
    return model.eval()


def _renamed(theirs: dict[str, Float[Tensor, "..."]], model: CLIPTextModel) -> dict[str, Float[Tensor, "..."]]:
    """Return open_clip's text tower under transformers' names."""
    prefix = "text_model." if any(name.startswith("text_model.") for name in model.state_dict()) else ""
    ours = {
        "embeddings.token_embedding.weight": theirs["token_embedding.weight"],
        "embeddings.position_embedding.weight": theirs["positional_embedding"],
    }
    for kind in ("weight", "bias"):
        ours[f"final_layer_norm.{kind}"] = theirs[f"ln_final.{kind}"]
    for name, value in theirs.items():
        if not name.startswith("transformer.resblocks."):
            continue
        number, part = name.removeprefix("transformer.resblocks.").split(".", 1)
        for new, piece in _layer(part, value):
            ours[f"encoder.layers.{number}.{new}"] = piece
    return {prefix + name: value.contiguous() for name, value in ours.items()}


def _layer(part: str, value: Float[Tensor, "..."]) -> list[tuple[str, Float[Tensor, "..."]]]:
    if part.startswith("attn.in_proj_"):
        kind = part.removeprefix("attn.in_proj_")
        return [(f"self_attn.{n}_proj.{kind}", piece) for n, piece in zip("qkv", value.chunk(3), strict=True)]
    renames = {
        "attn.out_proj": "self_attn.out_proj",
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }
    stem, kind = part.rsplit(".", 1)
    return [(f"{renames[stem]}.{kind}", value)]
