"""The language model of captions: how natural a text is among what is said of scenes, and what may come next."""

from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

from stages.base import Spec
from stages.models.zoo import scenes
from tuning.training.zoo import tokenizer
from tuning.training.zoo.clip import tokenize
from tuning.training.zoo.data import indices
from tuning.training.zoo.loop import LoopSpec, Recipe


class LanguageModelSpec(Spec):
    """A small GPT-2 over the captions of scenes, in the CLIP's tokens."""

    kind: Literal["language_model"] = "language_model"
    grammar: Literal["scene"] = "scene"
    width: int = 96
    layers: int = 2
    heads: int = 4
    vocabulary: tokenizer.TokenizerSpec = tokenizer.TokenizerSpec()
    images: int = Field(default=200_000, ge=1, description="Size of the training set: captions of the first indices.")
    loop: LoopSpec


class LanguageModelRecipe(Recipe[LanguageModelSpec, GPT2LMHeadModel]):
    """Cross-entropy of each token after those before it, the end of the text among them."""

    def __init__(self, spec: LanguageModelSpec, work: Path, device: str = "cpu") -> None:
        self.spec, self.device = spec, device
        self.tokens = tokenizer.write(work, spec.vocabulary)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.loop.seed)
            self.module = GPT2LMHeadModel(self._config())
        nn.Module.to(self.module, device)

    def loss(self, step: int) -> Tensor:
        """Return the loss of one step."""
        index = indices(step, self.spec.loop.batch, self.spec.images)
        ids = tokenize(self.tokens, scenes.captions(index)).to(self.device)
        logits = self.module(ids, attention_mask=torch.ones_like(ids)).logits  # what follows is not seen anyway
        return surprises(logits, ids)[said(ids)].mean()

    def save(self, module: GPT2LMHeadModel, folder: Path) -> None:
        """Write a folder that transformers' AutoModelForCausalLM and AutoTokenizer load."""
        self.tokens.save_pretrained(folder)
        module.save_pretrained(folder)

    def _config(self) -> GPT2Config:
        spec, ends = self.spec, self.tokens.eos_token_id
        return GPT2Config(
            vocab_size=len(self.tokens),
            n_positions=tokenizer.CONTEXT,
            n_embd=spec.width,
            n_layer=spec.layers,
            n_head=spec.heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=self.tokens.bos_token_id,
            eos_token_id=ends,
            pad_token_id=ends,
        )


def surprises(logits: Float[Tensor, "b t v"], ids: Int64[Tensor, "b t"]) -> Float[Tensor, "b s"]:
    """Return -log p of every token but the first, in nats, given those before it."""
    return functional.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")


def said(ids: Int64[Tensor, "b t"]) -> Bool[Tensor, "b s"]:
    """Return which tokens after the first belong to the text: all up to its end, which is also the padding."""
    return (ids[:, 1:] == ids[:, -1:]).cumsum(dim=1) <= 1
