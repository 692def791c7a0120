"""The small byte-pair vocabulary that CLIP and the text-to-image model share, in CLIP's format."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from stages.base import Spec
from stages.models.zoo import world

CONTEXT = 24
START, END = "<|startoftext|>", "<|endoftext|>"
WORDS = (
    # what captions say today
    *world.CLASSES, *world.COLOURS, "a", "an", "photo", "of",
    # what a richer grammar may say: kept in the vocabulary so that its size need not change
    *world.PATTERNS, *world.BACKGROUND_COLOURS, "black", "white", "brown", "striped", "checked", "dotted", "background",
    "picture", "image", "drawing", "painting", "the", "and", "with", "on", "in", "at", "to", "next", "left", "right",
    "top", "bottom", "above", "below", "behind", "centre", "corner", "side", "one", "two", "three", "four", "five",
    "circles", "squares", "triangles", "stars", "hearts", "crosses", "rings", "moons", "arrows", "houses", "trees",
    "small", "large", "big", "tiny", "light", "dark", "bright", "tilted", "no", "not", "without", "thing", "object",
)  # fmt: skip

Merge = tuple[str, str]


class TokenizerSpec(Spec):
    """How the vocabulary was learnt."""

    merges: int = 400


def write(folder: Path, spec: TokenizerSpec) -> CLIPTokenizer:
    """Write `vocab.json`, `merges.txt` and the configuration, and return the tokenizer that reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    merges = learn(WORDS, spec.merges)
    (folder / "vocab.json").write_text(json.dumps(vocabulary(merges), ensure_ascii=False), encoding="utf-8")
    text = "#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges)  # a last line break would be a merge
    (folder / "merges.txt").write_text(text, encoding="utf-8")
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": CONTEXT,
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": END,
        "do_lower_case": True,
        "errors": "replace",
        "add_prefix_space": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return CLIPTokenizer.from_pretrained(folder)


def vocabulary(merges: list[Merge]) -> dict[str, int]:
    """Return the number of each token: bytes, bytes that end a word, merges, start and, last of all, end of text.

    open_clip takes the end of a text to be its largest number.
    """
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges), START, END]
    return {token: number for number, token in enumerate(tokens)}


def learn(words: tuple[str, ...], count: int) -> list[Merge]:
    """Return up to `count` merges: the most frequent neighbours first, in order of the alphabet where equal."""
    splits = [[*word[:-1], word[-1] + "</w>"] for word in sorted(set(words))]
    merges: list[Merge] = []
    while len(merges) < count:
        pairs = Counter(pair for split in splits for pair in pairwise(split))
        if not pairs:
            break
        merges.append(min(pairs, key=lambda pair: (-pairs[pair], pair)))
        splits = [_merge(split, merges[-1]) for split in splits]
    return merges


def _merge(split: list[str], pair: Merge) -> list[str]:
    out: list[str] = []
    for part in split:
        if out and (out[-1], part) == pair:
            out[-1] += part
        else:
            out.append(part)
    return out
