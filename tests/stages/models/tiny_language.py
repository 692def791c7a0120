"""Vocabularies of chosen words, and language models whose every probability is written down: GPT-2 without blocks."""

from collections.abc import Iterable, Mapping
from itertools import pairwise

import torch
from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer, GPT2Config, GPT2LMHeadModel, GPT2Tokenizer, PreTrainedTokenizerBase

Table = Mapping[str, Mapping[str, float]]
"""The probabilities of what may follow a token; the rest is the end of the text."""

START, END, WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
IMPOSSIBLE = 1e-30


def clip_tokenizer(pieces: Iterable[str], alphabet: Iterable[str] = ALPHABET, limit: int = 24) -> CLIPTokenizer:
    """A vocabulary that marks ends of words: characters and the given pieces, such as 'star</w>' or 'dark'."""
    letters = [*alphabet, *(letter + WORD_END for letter in alphabet)]
    vocabulary, merges = _merged(letters, [_spelt(piece) for piece in pieces], (START, END))
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=limit)


def gpt2_tokenizer(pieces: Iterable[str], alphabet: Iterable[str] = ALPHABET) -> GPT2Tokenizer:
    """A vocabulary that marks beginnings of words: characters and the given pieces, such as 'Ġstar' or 'ish'."""
    vocabulary, merges = _merged(list(alphabet), [list(piece) for piece in pieces], (END,))
    return GPT2Tokenizer(vocab=vocabulary, merges=merges)


def written(tokenizer: PreTrainedTokenizerBase, table: Table) -> GPT2LMHeadModel:
    """A network whose next token depends on the last one only, as the table says."""
    size = len(tokenizer)
    logits = torch.full((size, size), IMPOSSIBLE, dtype=torch.float64)
    logits[:, tokenizer.eos_token_id] = 1.0
    for last, row in table.items():
        for token, probability in row.items():
            logits[_number(tokenizer, last), _number(tokenizer, token)] = probability
        logits[_number(tokenizer, last), tokenizer.eos_token_id] = max(1 - sum(row.values()), IMPOSSIBLE)
    network = _network(tokenizer, n_embd=size, n_layer=0, n_head=1)
    spread = (1 / size) * (1 - 1 / size) + network.config.layer_norm_epsilon  # of a unit vector, which the norm undoes
    weights = {
        "transformer.wte.weight": torch.eye(size),
        "transformer.wpe.weight": torch.zeros(network.config.n_positions, size),
        "transformer.ln_f.weight": torch.full((size,), spread**0.5),
        "transformer.ln_f.bias": torch.full((size,), 1 / size),
        "lm_head.weight": logits.log().mT.float(),
    }
    network.load_state_dict(weights)
    return network


def random_network(tokenizer: PreTrainedTokenizerBase, sharpness: float = 40.0) -> GPT2LMHeadModel:
    """A network with one block, of random weights and far from even probabilities."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = _network(tokenizer, n_embd=16, n_layer=1, n_head=2)
    network.lm_head.weight.data.mul_(sharpness)
    return network


def _network(tokenizer, **sizes):
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=24, tie_word_embeddings=False, **ends, **sizes)
    return GPT2LMHeadModel(config).eval()


def _number(tokenizer, token):
    known = tokenizer.get_vocab()
    assert token in known, token
    return known[token]


def _spelt(piece):
    letters = list(piece.removesuffix(WORD_END))
    return [*letters[:-1], letters[-1] + WORD_END] if piece.endswith(WORD_END) else letters


def _merged(letters, spelt, ends):
    """The characters, and a chain of merges from the left for each piece."""
    names, merges = dict.fromkeys(letters), {}
    for piece in spelt:
        beginnings = ["".join(piece[:length]) for length in range(1, len(piece) + 1)]
        names |= dict.fromkeys(beginnings)
        merges |= {(left, whole[len(left) :]): None for left, whole in pairwise(beginnings)}
    return {name: number for number, name in enumerate([*names, *ends])}, list(merges)
