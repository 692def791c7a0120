"""What a text-conditioned model is told of each render while it is trained: captions, some of them empty."""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from transformers import CLIPTokenizer

from stages.models.zoo import scenes, world
from tuning.training.zoo import clip

GREY, EMPTY = len(world.COLOURS), -1
"""Columns and row of the table of captions for `no colour` and for `no words`."""

States = Float[Tensor, "b t d"]


class Prompts(Protocol):
    """The captions of a batch, as numbers that can be split, and the text tower's states of them."""

    width: int

    def __call__(self, index: Int64[np.ndarray, " b"], random: torch.Generator) -> Tensor:
        """Return each render's caption as numbers, by row."""

    def states(self, captions: Tensor) -> States:
        """Return what the network sees of captions."""


class ThingPrompts:
    """Captions of one thing, each a row of a table; some without colour."""

    def __init__(self, table: Float[Tensor, "caption t d"], no_words: float, no_colour: float) -> None:
        self.table = table
        self.width, self.no_words, self.no_colour = self.table.shape[-1], no_words, no_colour

    def __call__(self, index: Int64[np.ndarray, " b"], random: torch.Generator) -> Int64[Tensor, " b"]:
        """Return each render's row in the table of captions."""
        chance = torch.rand(len(index), generator=random)
        label, colour = torch.from_numpy(world.labels(index)), torch.from_numpy(world.colours(index))
        plain = (chance >= self.no_words) & (chance < self.no_words + self.no_colour)
        row = label * (GREY + 1) + torch.where(plain, GREY, colour)
        return torch.where(chance < self.no_words, len(self.table) + EMPTY, row)

    def states(self, captions: Int64[Tensor, " b"]) -> States:
        """Return rows of the table."""
        return self.table[captions]


class ScenePrompts:
    """Captions of scenes, too many for a table: the text tower, frozen, reads each batch anew."""

    def __init__(self, folder: Path, no_words: float, device: str) -> None:
        self.tokens, self.tower = CLIPTokenizer.from_pretrained(folder), clip.text_model(folder)
        self.width, self.no_words = self.tower.config.hidden_size, no_words
        nn.Module.to(self.tower, device)

    def __call__(self, index: Int64[np.ndarray, " b"], random: torch.Generator) -> Int64[Tensor, "b t"]:
        """Return the token numbers of each render's caption."""
        silent = torch.rand(len(index), generator=random) < self.no_words
        said = zip(scenes.captions(index), silent.tolist(), strict=True)
        return clip.tokenize(self.tokens, ["" if empty else text for text, empty in said])

    @torch.no_grad()
    def states(self, captions: Int64[Tensor, "b t"]) -> States:
        """Return the text tower's last states."""
        states: Tensor = self.tower(captions).last_hidden_state
        return states


@torch.no_grad()
def caption_table(tokens: CLIPTokenizer, tower: nn.Module) -> Float[Tensor, "caption t d"]:
    """Return a text tower's states of every caption: classes by (colours, then no colour), and last the empty one."""
    texts = [world.caption(thing, colour) for thing in world.CLASSES for colour in (*world.COLOURS, "")]
    states: Tensor = tower(clip.tokenize(tokens, [*texts, ""])).last_hidden_state
    return states
