"""What a U-Net on a CPU works out once: the text's keys and values, and all that both branches of guidance share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.unets.unet_2d_blocks import CrossAttnDownBlock2D, DownBlock2D
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from typing_extensions import override

TELLING_ROWS_APART = (
    "addition_embed_type",
    "class_embed_type",
    "num_class_embeds",
    "time_cond_proj_dim",
    "encoder_hid_dim_type",
)
"""Settings of a U-Net that is told of a row more than its text: it mixes that into the time step."""

in_branches: ContextVar[bool] = ContextVar("in_branches", default=False)


@contextmanager
def both_branches() -> Iterator[None]:
    """Say that a U-Net is asked by classifier-free guidance: the second half of the rows repeats the first.

    The halves differ in their text alone, and the rows of the first half, which has no prompt, have one text.
    """
    before = in_branches.set(True)
    try:
        yield
    finally:
        in_branches.reset(before)


def reuse(unet: nn.Module) -> None:
    """Let a U-Net on a CPU work out once what it would work out at every step, or in both branches of guidance.

    The keys and values of a text are kept while it comes again. Under `both_branches` no prompt is one row's text for
    half of the batch, and what runs before the first look at the text runs for half of the rows. All this happens in
    inference mode alone, in which no weight changes and no gradient is wanted. Any other model stays as it is: on a GPU
    the text costs next to nothing, and the memory to keep it is dear.
    """
    if not isinstance(unet, UNet2DConditionModel) or unet.device.type != "cpu":
        return
    for layer in unet.modules():
        if type(layer) is Attention and only_attends(layer):
            layer.__class__ = ReusingAttention
    for part in before_text(unet):
        if halve not in part._forward_pre_hooks.values():  # a copy of a network that reuses has the hooks already
            part.register_forward_pre_hook(halve, with_kwargs=True)
            part.register_forward_hook(double)


def only_attends(layer: Attention) -> bool:
    """Return whether a layer is queries, keys and values of its heads, and a projection: no norm, no residual."""
    norms = (layer.group_norm, layer.spatial_norm, layer.norm_q, layer.norm_k, layer.norm_cross, layer.add_k_proj)
    return (
        type(layer.processor) is AttnProcessor2_0
        and all(norm is None for norm in norms)
        and layer.inner_kv_dim == layer.inner_dim
        and not layer.residual_connection
        and layer.rescale_output_factor == 1
    )


def before_text(unet: UNet2DConditionModel) -> Iterator[nn.Module]:
    """Yield the parts of a U-Net that run before its first look at the text, while its rows differ in nothing else."""
    if any(unet.config.get(name) is not None for name in TELLING_ROWS_APART):
        return
    yield unet.conv_in
    for block in unet.down_blocks:
        if type(block) is not DownBlock2D:
            break
        yield block
    if type(block) is CrossAttnDownBlock2D:
        yield block.resnets[0]
        first = block.attentions[0].transformer_blocks[0]
        if type(first.attn1) is ReusingAttention and not first.only_cross_attention:
            yield first.attn1


class Seen(NamedTuple):
    """A text, and its keys and values for each part of the batch: of all the part's rows, or of the one they share."""

    text: Tensor
    branches: bool
    parts: Sequence[tuple[Tensor, Tensor]]


class ReusingAttention(Attention):  # type: ignore[misc]  # diffusers says of no class what it is
    """diffusers' attention, which keeps the keys and values of its last text.

    Under a mask, while training or where a gradient may be wanted it is the layer that it was.
    """

    seen: Seen | None = None

    @override
    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **others: object,
    ) -> Tensor:
        if attention_mask is not None or others or self.training or not torch.is_inference_mode_enabled():
            return super().forward(hidden_states, encoder_hidden_states, attention_mask, **others)
        query = self.to_q(hidden_states)
        if encoder_hidden_states is None:
            attended = attend(query, *self._keys_and_values(hidden_states))
        else:
            parts = self._parts(encoder_hidden_states)
            asked = zip(query.chunk(len(parts)), parts, strict=True)
            attended = torch.cat([attend(rows, *part) for rows, part in asked])
        projected: Tensor = self.to_out[0](attended)
        return projected

    def _parts(self, text: Tensor) -> Sequence[tuple[Tensor, Tensor]]:
        branches = in_branches.get()
        if self.seen is None or self.seen.text is not text or self.seen.branches != branches:
            texts = (text[:1], text[len(text) // 2 :]) if branches else (text,)
            made = [self._keys_and_values(rows) for rows in texts]
            self.seen = Seen(text, branches, [(key.contiguous(), value.contiguous()) for key, value in made])
        return self.seen.parts

    def _keys_and_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values [b heads n d] of the states [b n c]."""
        key, value = (
            made.view(len(states), -1, self.heads, made.shape[2] // self.heads).transpose(1, 2)
            for made in (self.to_k(states), self.to_v(states))
        )
        return key, value


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return what the queries [b n c] see in keys and values [r heads k d]; where r is 1, all rows look at one text.

    Few queries cost least as products of matrices, with those of all rows that share a text in one. Of many, the table
    of scores would be large, and in half precision it would be rounded: those go to PyTorch's attention.
    """
    texts, heads, keys, width = key.shape
    asked = query.view(texts, -1, heads, width).transpose(1, 2)
    if query.shape[1] < keys and query.dtype == torch.float32:
        unused = query.new_empty(1)
        scores = torch.baddbmm(unused, asked.flatten(0, 1), key.flatten(0, 1).mT, beta=0, alpha=width**-0.5)
        seen = torch.bmm(scores.softmax(dim=-1), value.flatten(0, 1)).view(asked.shape)
    else:
        seen = scaled_dot_product_attention(asked, key, value)
    return seen.transpose(1, 2).reshape(query.shape)


def halve(
    part: nn.Module,  # noqa: ARG001
    given: tuple[object, ...],
    named: dict[str, Any],
) -> tuple[object, dict[str, Any]] | None:
    """Give a part that runs before the text one branch alone."""
    if not halving():
        return None
    return tuple(first_half(value) for value in given), {name: first_half(value) for name, value in named.items()}


def double(part: nn.Module, given: object, answer: object) -> object:  # noqa: ARG001
    """Give both branches what one made."""
    return twice(answer) if halving() else None


def halving() -> bool:
    """Return whether both branches are asked for, by whom no gradient is wanted."""
    return in_branches.get() and torch.is_inference_mode_enabled()


def first_half(value: object) -> object:
    """Return the first half of the rows of a tensor; anything else as it is."""
    return value[: len(value) // 2] if isinstance(value, Tensor) else value


def twice(value: object) -> object:
    """Return the rows of a tensor twice, of each tensor in a tuple."""
    return torch.cat([value, value]) if isinstance(value, Tensor) else tuple(twice(one) for one in value)  # type: ignore[attr-defined]
