"""LanguageModel: which words may come next in a text, and how probable a text is, word by word."""

import heapq
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import transformers
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import log_softmax
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from stages.models.placement import Placement, place
from stages.models.source import locate
from stages.models.spec import ModelSpec
from stages.models.unreadable import UNREADABLE, first_line
from stages.models.word_marks import marks_of


class Word(NamedTuple):
    """A word, and its log-probability in nats after the text before it."""

    text: str
    log_p: float


class _Path(NamedTuple):
    """Tokens of a word so far; those of a larger cost have no larger probability, however they go on."""

    cost: float  # -log p in nats
    tokens: tuple[int, ...]
    whole: bool


class LanguageModel:
    """A causal language model, asked about words of the letters A to Z.

    The probability of a word after whole words is that of Pimentel & Meister 2024 (arXiv:2406.14561): where the
    vocabulary marks ends of words, the product over its tokens; where it marks beginnings, also the probability that it
    ends there, and over that of the word before it. One text at a time, so that no other moves its rounding.
    """

    def __init__(self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, placement: Placement) -> None:
        self.network, self.tokenizer, self.device = moved(network, placement), tokenizer, placement.device
        self.marks = marks_of(tokenizer, int(network.config.vocab_size))
        self.limit: int | None = getattr(network.config, "max_position_embeddings", None)
        """Tokens that it reads at once; None where that is not limited."""

    def next_words(self, text: str, count: int, least: float = 0.0, tokens: int = 4) -> list[Word]:
        """Return the `count` most probable next words of at most `tokens` tokens, the most probable first.

        Fewer where fewer have a probability of at least `least`. Exact: words are grown token by token, the most
        probable beginning first. Two that differ by case are one. Raises ValueError as `log_probabilities` does.
        """
        before, frontier = self._read(text), _Frontier()
        found: dict[str, Word] = {}
        highest = -math.log(least) if least else math.inf
        self._grow(frontier, before, _Path(0.0, (), False), tokens)
        while len(found) < count and (path := frontier.pop()) is not None and path.cost <= highest:
            if not path.whole:
                self._grow(frontier, before, path, tokens)
            elif self._read(f"{text} {(word := self._spelt(path))}", checked=False) == [*before, *path.tokens]:
                found.setdefault(word.lower(), Word(word, -path.cost))
        return list(found.values())

    def log_probabilities(self, text: str) -> list[float]:
        """Return the log-probability in nats of every word of a text; the first one's is NaN without a start token.

        Raises ValueError for a text that the tokenizer cannot express, or that is longer than the model reads.
        """
        ids = self._read(text)
        rows, skipped = self._after(ids), len(self._start)
        own = rows[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0].double().tolist()
        own = own if skipped else [math.nan, *own]
        ends = rows[:, self.marks.outside].logsumexp(1).double().tolist()
        begins = self.marks.beginnings(ids[skipped:])
        return [
            sum(own[first:last]) + ends[skipped + last - 1] - (ends[skipped + first - 1] if first else 0.0)
            for first, last in itertools.pairwise([*begins, len(ids) - skipped])
        ]

    def end(self, text: str) -> float:
        """Return the log-probability in nats that a text ends where it does; NaN where the model knows no end."""
        if self.tokenizer.eos_token_id is None:
            return math.nan
        row = self._after(self._read(text))[-1]
        return float(row[self.tokenizer.eos_token_id] - row[self.marks.outside].logsumexp(0))

    def fits(self, text: str) -> bool:
        """Return whether the model reads all of a text."""
        return self.limit is None or len(self._read(text, checked=False)) <= self.limit

    @property
    def _start(self) -> list[int]:
        return [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        return ids

    def _read(self, text: str, checked: bool = True) -> list[int]:
        """Return the tokens of a text behind the token that starts one."""
        ids = [*self._start, *self._encode(text)]
        if checked:
            self._check(text, ids)
        return ids

    def _check(self, text: str, ids: Sequence[int]) -> None:
        for word in text.split() or [text]:
            spelt = str(self.tokenizer.decode(tokens := self._encode(word))).replace(" ", "")
            if not tokens or self.tokenizer.unk_token_id in tokens or spelt.lower() != word.lower():
                raise ValueError(
                    f"language model: expected words that its tokenizer can express, found {word!r} in {text!r}"
                )
        if self.limit is not None and len(ids) > self.limit:
            raise ValueError(
                f"language model: expected at most the {self.limit} tokens that it reads, found {len(ids)} in {text!r}"
            )

    @torch.inference_mode()
    def _after(self, ids: Sequence[int]) -> Float[Tensor, "t v"]:
        """Return the log-probabilities of the token after each."""
        logits = self.network(torch.tensor([ids], device=self.device)).logits[0]
        return log_softmax(logits.float(), dim=-1).cpu()

    def _grow(self, frontier: "_Frontier", before: list[int], path: _Path, tokens: int) -> None:
        """Add what a path may become: a whole word, where beginnings are marked, and paths of one more token."""
        if self.limit is not None and len(before) + len(path.tokens) > self.limit:
            return
        row = self._after([*before, *path.tokens])[-1]
        ends = float(row[self.marks.outside].logsumexp(0))
        if not path.tokens:
            frontier.add(self._longer(_Path(ends, (), False), row, self.marks.first))
            return
        if not self.marks.at_end:
            frontier.add(iter([_Path(path.cost - ends, path.tokens, True)]))
        if len(path.tokens) < tokens:
            frontier.add(self._longer(path, row, self.marks.later))

    def _longer(self, path: _Path, row: Float[Tensor, " v"], allowed: Bool[Tensor, " v"]) -> Iterator[_Path]:
        """Yield the path with each allowed token behind it, the most probable first."""
        values, order = row.masked_fill(~allowed, -math.inf).sort(descending=True, stable=True)
        for value, token in itertools.islice(zip(values.tolist(), order.tolist(), strict=True), int(allowed.sum())):
            yield _Path(path.cost - value, (*path.tokens, token), self.marks.ends(token))

    def _spelt(self, path: _Path) -> str:
        return "".join(self.marks.letters[token] for token in path.tokens)


class _Frontier:
    """Sequences of paths, each from its cheapest on, merged into one while more are added."""

    def __init__(self) -> None:
        self._heap: list[tuple[_Path, int, Iterator[_Path]]] = []
        self._added = itertools.count()

    def add(self, paths: Iterator[_Path]) -> None:
        if (first := next(paths, None)) is not None:
            heapq.heappush(self._heap, (first, next(self._added), paths))

    def pop(self) -> _Path | None:
        if not self._heap:
            return None
        path, _, rest = heapq.heappop(self._heap)
        self.add(rest)
        return path


def moved(network: PreTrainedModel, placement: Placement) -> PreTrainedModel:
    """Return a network where it is to run, ready to answer."""
    module: torch.nn.Module = network
    module.to(*placement).eval()
    return network


def load_language_model(spec: ModelSpec) -> LanguageModel:
    """Return the language model that `spec` names, on its device: zoo:NAME, a local folder, or a hub id.

    Weights load from safetensors only and no code comes with them. Its type is float32 unless the spec says otherwise.
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    where, placement = locate(spec.model, "transformers"), place(spec)
    shared = {"revision": where.revision, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(where.place, **shared)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            where.place, use_safetensors=True, dtype=placement.dtype, output_loading_info=True, **shared
        )
        network, found = loaded
        if missing := sorted(found["missing_keys"]):
            raise ValueError(f"no weights for {missing[0]}")
        return LanguageModel(network, tokenizer, placement)
    except UNREADABLE as error:
        raise ValueError(
            f"language model {spec.model!r}: expected a causal language model of transformers with weights in "
            f"safetensors, but found: {first_line(error)}"
        ) from error
