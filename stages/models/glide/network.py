"""GLIDE's U-Net: ADM's (Dhariwal & Nichol 2021, arXiv:2105.05233), where positions also attend to the text."""

import math
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from stages.models.glide.options import GlideOptions
from stages.models.glide.text import Text, TextTransformer
from stages.tensors import Output, Time

Maps: TypeAlias = Float[Tensor, "b _ _ _"]
Resize: TypeAlias = Literal["up", "down"] | None


class Glide(nn.Module):
    """One of GLIDE's two networks: text transformer and U-Net. Answers epsilon and the learned variance."""

    def __init__(self, options: GlideOptions) -> None:
        super().__init__()
        self.options = options
        first, time = options.channels * options.multipliers[0], 4 * options.channels
        self.text = TextTransformer(options)
        self.time = nn.Sequential(nn.Linear(options.channels, time), nn.SiLU(), nn.Linear(time, time))
        self.stem = nn.Conv2d(6 if options.second_stage else 3, first, 3, padding=1)
        down, widths = _down(options)
        self.down, self.middle = nn.ModuleList(down), _middle(options, widths[-1])
        self.up = nn.ModuleList(_up(options, widths))
        self.norm, self.out = Norm(32, first), nn.Conv2d(first, 6, 3, padding=1)

    def forward(self, x: Maps, t: Time, text: Text) -> Output:
        """Return epsilon and v for the state, with the small picture behind it in a second stage."""
        time = self.time(embedded(t, self.options.channels).to(x)) + text.summary
        x = self.stem(x)
        passed = [x]
        for block in self.down:
            x = block(x, time, text.tokens)
            passed.append(x)
        x = self.middle(x, time, text.tokens)
        for block in self.up:
            x = block(torch.cat([x, passed.pop()], dim=1), time, text.tokens)
        return self.out(functional.silu(self.norm(x)))


class Block(nn.ModuleList):
    """A few layers in a row, each told the time and the text."""

    def forward(self, x: Maps, time: Tensor, tokens: Tensor) -> Maps:
        """Return what the last layer answers."""
        for layer in self:
            x = layer(x, time, tokens)
        return x


class Norm(nn.GroupNorm):
    """Group norm in single precision whatever the maps are in, as in the published code."""

    def forward(self, x: Maps) -> Maps:
        """Return the normalised maps in their own type."""
        normed = functional.group_norm(x.float(), self.num_groups, self.weight.float(), self.bias.float(), self.eps)
        return normed.to(x.dtype)


class Residual(nn.Module):
    """A residual block that the time scales and shifts, and that may halve or double the side of the maps."""

    def __init__(self, inputs: int, outputs: int, time: int, resize: Resize = None) -> None:
        super().__init__()
        self.resize = resize
        self.norm_in, self.conv_in = Norm(32, inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(time, 2 * outputs)
        self.norm_out, self.conv_out = Norm(32, outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Maps, time: Tensor, tokens: Tensor) -> Maps:  # noqa: ARG002
        """Return the maps, changed."""
        y = self.conv_in(self._resized(functional.silu(self.norm_in(x))))
        scale, shift = self.time(functional.silu(time))[:, :, None, None].chunk(2, dim=1)
        y = self.conv_out(functional.silu(self.norm_out(y) * (1 + scale) + shift))
        return self.shortcut(self._resized(x)) + y

    def _resized(self, x: Maps) -> Maps:
        if self.resize == "up":
            return functional.interpolate(x, scale_factor=2.0, mode="nearest")
        return functional.avg_pool2d(x, 2) if self.resize == "down" else x


class Attention(nn.Module):
    """Positions attend to the text's tokens and to each other, in one softmax."""

    def __init__(self, channels: int, head_channels: int, text_width: int) -> None:
        super().__init__()
        self.heads = channels // head_channels
        self.norm = Norm(32, channels)
        self.query_key_value = nn.Conv1d(channels, 3 * channels, 1)
        self.text = nn.Conv1d(text_width, 2 * channels, 1)
        self.out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Maps, time: Tensor, tokens: Tensor) -> Maps:  # noqa: ARG002
        """Return the maps with what their positions attended to added."""
        query, key, value = self._heads(self.query_key_value(self.norm(x).flatten(2))).chunk(3, dim=-1)
        text_key, text_value = self._heads(self.text(tokens.mT)).chunk(2, dim=-1)
        key, value = torch.cat([text_key, key], dim=2), torch.cat([text_value, value], dim=2)
        seen = functional.scaled_dot_product_attention(query, key, value)
        return x + self.out(seen.mT.flatten(1, 2)).view(x.shape)

    def _heads(self, x: Float[Tensor, "b c n"]) -> Float[Tensor, "b heads n d"]:
        """Each head's query, key and value lie side by side."""
        return x.unflatten(1, (self.heads, -1)).mT


def embedded(t: Time, width: int) -> Float[Tensor, "1 width"]:
    """Return cosines, then sines, of the time step at frequencies from 1 down to nearly 1 / 10,000."""
    frequencies = torch.exp(torch.arange(width // 2, device=t.device) * (-math.log(10_000) / (width // 2)))
    angles = t.float() * frequencies
    return torch.cat([angles.cos(), angles.sin()])[None]


def _layers(options: GlideOptions, level: int, inputs: int) -> list[nn.Module]:
    """Return one residual block of a level, and its attention where the level has it."""
    outputs, time = options.channels * options.multipliers[level], 4 * options.channels
    layers: list[nn.Module] = [Residual(inputs, outputs, time)]
    if options.attends(level):
        layers.append(Attention(outputs, options.head_channels, options.text_width))
    return layers


def _down(options: GlideOptions) -> tuple[list[Block], list[int]]:
    """Return the blocks on the way down, and the channels of the stem's and of each block's answer."""
    width, time, blocks = options.channels * options.multipliers[0], 4 * options.channels, []
    widths = [width]
    for level, multiplier in enumerate(options.multipliers):
        for _ in range(options.blocks):
            blocks.append(Block(_layers(options, level, width)))
            width = options.channels * multiplier
            widths.append(width)
        if level < len(options.multipliers) - 1:
            blocks.append(Block([Residual(width, width, time, "down")]))
            widths.append(width)
    return blocks, widths


def _middle(options: GlideOptions, width: int) -> Block:
    time = 4 * options.channels
    attention = Attention(width, options.head_channels, options.text_width)
    return Block([Residual(width, width, time), attention, Residual(width, width, time)])


def _up(options: GlideOptions, widths: list[int]) -> list[Block]:
    """Return the blocks on the way up; each also sees what the way down passed over, last first."""
    width, time, blocks, passed = widths[-1], 4 * options.channels, [], list(widths)
    for level in reversed(range(len(options.multipliers))):
        for number in range(options.blocks + 1):
            layers = _layers(options, level, width + passed.pop())
            width = options.channels * options.multipliers[level]
            if level and number == options.blocks:
                layers.append(Residual(width, width, time, "up"))
            blocks.append(Block(layers))
    return blocks
