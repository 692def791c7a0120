"""TokenSpace: the input of a CLIP text encoder as vectors, some of which are no token's."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from stages.sampling.prompts import Embeddings, Extended

PLACE = 0
"""The token that stands where a vector goes; any but the end of text, by which CLIP finds its pooled state."""


class TokenSpace:
    """Prompts whose last words may be vectors: Liu et al. 2023 (arXiv:2306.00974), the paper's free embeddings.

    They stand after the last token of the prompt and before the end of text, which moves on by as many places.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, encoder: nn.Module) -> None:
        self.tokenizer, self.encoder = tokenizer, encoder

    @property
    def table(self) -> Float[Tensor, "vocabulary width"]:
        """The vector of each token."""
        weights: Tensor = self._layer.weight
        return weights.detach()

    @property
    def _layer(self) -> nn.Embedding:
        layer: nn.Embedding = self.encoder.get_input_embeddings()  # type: ignore[operator]  # of transformers
        return layer

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of a text, without start and end."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        return ids

    def room(self, prompt: str) -> int:
        """Return how many more tokens fit behind a prompt; negative where it is cut itself."""
        return int(self.tokenizer.model_max_length) - 2 - len(self.tokens(prompt))

    def encode(self, prompts: Extended) -> Float[Tensor, "b t states"]:
        """Return the states of the prompts with their vectors; differentiable in these.

        Raises ValueError for a prompt behind which they do not fit.
        """
        count = prompts.vectors.shape[1]
        rows = [self._row(text, count) for text in prompts.texts]
        first = torch.tensor([1 + len(self.tokens(text)) for text in prompts.texts])
        places = first[:, None] + torch.arange(count)
        device = self._layer.weight.device
        with self._replaced(places.to(device), prompts.vectors):
            states: Tensor = self.encoder(torch.tensor(rows, device=device))[0]
        return states

    def check(self, prompt: str, count: int) -> None:
        """Refuse a prompt behind which so many vectors do not fit."""
        if self.room(prompt) < count:
            raise ValueError(
                f"token embeddings: expected room for {count} behind the prompt, found {max(0, self.room(prompt))} of "
                f"{self.tokenizer.model_max_length} places left behind {prompt!r}; shorten it"
            )

    def _row(self, prompt: str, count: int) -> list[int]:
        self.check(prompt, count)
        tokens = self.tokens(prompt)
        start, end, pad = (getattr(self.tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad"))
        row = [start, *tokens, *[PLACE] * count, end]
        return row + [pad] * (int(self.tokenizer.model_max_length) - len(row))

    @contextmanager
    def _replaced(self, places: Int64[Tensor, "b n"], vectors: Embeddings) -> Iterator[None]:
        """Let the encoder read the vectors in these places."""
        rows = torch.arange(len(places), device=places.device)[:, None].expand_as(places)

        def replace(_: nn.Module, __: object, read: Tensor) -> Tensor:
            return read.index_put((rows, places), vectors.to(read.device, read.dtype))

        handle = self._layer.register_forward_hook(replace)
        try:
            yield
        finally:
            handle.remove()
