"""GLIDE's text transformer: every token sees every other, and padding has embeddings of its own."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from stages.models.glide.options import GlideOptions

Tokens = Float[Tensor, "b tokens width"]


class Text(NamedTuple):
    """What the U-Net is told of a text."""

    tokens: Float[Tensor, "b tokens width"]
    summary: Float[Tensor, "b time"]
    """Added to the embedding of the time step."""


class TextTransformer(nn.Module):
    """Section 2.4 and appendix B.1: K states for attention, and the last of them, projected, beside the time."""

    def __init__(self, options: GlideOptions) -> None:
        super().__init__()
        width = options.text_width
        self.words = nn.Embedding(options.vocabulary, width)
        self.places = nn.Parameter(torch.zeros(options.context, width))
        self.padding = nn.Parameter(torch.zeros(options.context, width))
        self.layers = nn.ModuleList([Layer(width, options.text_heads) for _ in range(options.text_layers)])
        self.norm = nn.LayerNorm(width)
        self.summary = nn.Linear(width, 4 * options.channels)

    def forward(self, tokens: Int64[Tensor, "b tokens"], real: Bool[Tensor, "b tokens"]) -> Text:
        """Return what the U-Net is told; `real` says which tokens are not padding."""
        x = torch.where(real[..., None], self.words(tokens) + self.places, self.padding)
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x)
        return Text(x, self.summary(x[:, -1]))


class Layer(nn.Module):
    """One layer: attention, then a perceptron, each on normalised input and added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_perceptron = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.attended = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tokens) -> Tokens:
        """Return the next states of the tokens."""
        x = x + self.attended(self._attend(self.query_key_value(self.norm_attention(x))))
        return x + self.narrow(functional.gelu(self.wide(self.norm_perceptron(x))))

    def _attend(self, x: Float[Tensor, "b tokens three_widths"]) -> Tokens:
        """Each head's query, key and value lie side by side."""
        query, key, value = x.unflatten(2, (self.heads, -1)).transpose(1, 2).chunk(3, dim=-1)
        return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
