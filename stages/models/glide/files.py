"""GLIDE as a folder: converted once from the published checkpoints, whose names for the weights are mapped onto ours.

`glide.json` holds the options of both networks, `base.safetensors` and `upsampler.safetensors` their weights,
`vocab.json` and `merges.txt` the byte pairs.
"""

import gzip
import json
import re
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # what `torch.load` raises where a file holds more than weights

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import GPT2Tokenizer

from stages.models.glide.network import Glide
from stages.models.glide.options import BASE, UPSAMPLER, GlideOptions
from stages.models.unreadable import UNREADABLE, first_line

GLIDE = "glide.json"
NETWORKS = ("base", "upsampler")
SEES = {False: 3, True: 6}
"""Channels that a network sees: its state, and in a second stage the small picture."""
NETWORK_OF = {3: "the base model", 6: "the upsampler", 7: "the one of inpainting", 10: "the upsampler of inpainting"}
RENAMES = (
    (r"^token_embedding\.", "text.words."),
    (r"^positional_embedding$", "text.places"),
    (r"^padding_embedding$", "text.padding"),
    (r"^transformer\.resblocks\.", "text.layers."),
    (r"^final_ln\.", "text.norm."),
    (r"^transformer_proj\.", "text.summary."),
    (r"\.attn\.c_qkv\.", ".query_key_value."),
    (r"\.attn\.c_proj\.", ".attended."),
    (r"\.ln_1\.", ".norm_attention."),
    (r"\.ln_2\.", ".norm_perceptron."),
    (r"\.mlp\.c_fc\.", ".wide."),
    (r"\.mlp\.c_proj\.", ".narrow."),
    (r"^time_embed\.", "time."),
    (r"^input_blocks\.0\.0\.", "stem."),
    (r"^middle_block\.", "middle."),
    (r"^output_blocks\.", "up."),
    (r"^out\.0\.", "norm."),
    (r"^out\.2\.", "out."),
    (r"\.in_layers\.0\.", ".norm_in."),
    (r"\.in_layers\.2\.", ".conv_in."),
    (r"\.emb_layers\.1\.", ".time."),
    (r"\.out_layers\.0\.", ".norm_out."),
    (r"\.out_layers\.3\.", ".conv_out."),
    (r"\.skip_connection\.", ".shortcut."),
    (r"\.qkv\.", ".query_key_value."),
    (r"\.encoder_kv\.", ".text."),
    (r"\.proj_out\.", ".out."),
)
"""The published names, and ours. Besides these the blocks on the way down are renumbered: the first is the stem."""


def convert(
    published: tuple[Path, Path | None],
    byte_pairs: tuple[Path, Path],
    folder: Path,
    options: tuple[GlideOptions, GlideOptions] = (BASE, UPSAMPLER),
) -> Path:
    """Write the folder that `load_generator` reads and return it.

    `published` are `base.pt` and, if wanted, `upsample.pt`; `byte_pairs` the code's `encoder.json.gz` and
    `vocab.bpe.gz`, or the same unpacked.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"glide: expected no folder or an empty one at {folder}, found files; choose another")
    pairs = zip(published, options, strict=True)
    weights = [None if file is None else published_weights(file, o) for file, o in pairs]
    vocabulary, merges = _words(byte_pairs[0], options[0].vocabulary), _text(byte_pairs[1])
    partial = folder.with_name(f".{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / "vocab.json").write_text(vocabulary)
    (partial / "merges.txt").write_text(merges)
    kept = {name: (o, w) for name, o, w in zip(NETWORKS, options, weights, strict=True) if w is not None}
    for name, (_, tensors) in kept.items():
        save_file(tensors, partial / f"{name}.safetensors", {"format": "pt"})
    settings = {name: o.model_dump(mode="json") for name, (o, _) in kept.items()}
    (partial / GLIDE).write_text(json.dumps(settings, indent=2) + "\n")
    if folder.exists():
        folder.rmdir()
    return partial.rename(folder)


def published_weights(file: Path, options: GlideOptions) -> dict[str, Float[Tensor, "..."]]:
    """Return the weights of a published checkpoint under our names, once they fit the network."""
    theirs = _read(file)
    _check_stem(theirs, file, options)
    ours = {renamed(name): tensor.contiguous() for name, tensor in theirs.items()}
    network = _empty(options)
    found, wanted = ({name: tuple(x.shape) for name, x in state.items()} for state in (ours, network.state_dict()))
    if strange := sorted({*found.items()} ^ {*wanted.items()}):
        name, shape = strange[0]
        where = "the network" if wanted.get(name) == shape else "the file"
        raise ValueError(
            f"glide: expected in {file} the weights of {options!r}, but {len(strange)} differ, "
            f"first {name} {shape} of {where}; give the options that the checkpoint was trained with"
        )
    return ours


def _read(file: Path) -> dict[str, Float[Tensor, "..."]]:
    """Return the weights in a file by their published names; no code of the file is run."""
    try:
        theirs = torch.load(file, map_location="cpu", weights_only=True)
    except (*UNREADABLE, UnpicklingError, EOFError) as error:
        raise ValueError(f"glide: expected weights of GLIDE in {file}, but found: {first_line(error)}") from error
    if not isinstance(theirs, dict):
        raise ValueError(f"glide: expected weights by name in {file}, found a {type(theirs).__name__}")
    if strange := [name for name, weight in theirs.items() if not isinstance(weight, Tensor)]:
        raise ValueError(f"glide: expected weights alone in {file}, found {strange[0]!r} too; save the weights by name")
    return theirs


def _check_stem(theirs: Mapping[str, Tensor], file: Path, options: GlideOptions) -> None:
    """Refuse one network where the other belongs, by the channels that the first layer sees."""
    stem = theirs.get("input_blocks.0.0.weight")
    channels, asked = 0 if stem is None else stem.shape[1], SEES[options.second_stage]
    if channels != asked and channels in NETWORK_OF:
        raise ValueError(
            f"glide: expected in {file} {NETWORK_OF[asked]}, whose first layer sees {asked} channels, "
            f"found {NETWORK_OF[channels]}, which sees {channels}; give each file in its place"
        )


def renamed(name: str) -> str:
    """Return our name for a weight that the published checkpoints call `name`."""
    for theirs, ours in RENAMES:
        name = re.sub(theirs, ours, name)
    return re.sub(r"^input_blocks\.(\d+)\.", lambda match: f"down.{int(match[1]) - 1}.", name)


def load_networks(folder: Path) -> dict[str, Glide]:
    """Return the networks of a folder by name: base, and upsampler where it has one."""
    return {name: _load(folder / f"{name}.safetensors", options) for name, options in load_options(folder).items()}


def load_options(folder: Path) -> dict[str, GlideOptions]:
    """Return the options of the networks of a folder."""
    settings = json.loads((folder / GLIDE).read_text())
    return {name: GlideOptions.model_validate(settings[name]) for name in NETWORKS if name in settings}


def load_tokenizer(folder: Path) -> GPT2Tokenizer:
    """Return GLIDE's byte pairs; GPT-2's are split by the same rules."""
    merges = (folder / "merges.txt").read_text().splitlines()
    pairs = [tuple(line.split(" ")) for line in merges if line and not line.startswith("#version")]
    vocabulary = json.loads((folder / "vocab.json").read_text())
    return GPT2Tokenizer(vocab=vocabulary, merges=pairs)  # type: ignore[arg-type]  # it is annotated as lines


def _load(file: Path, options: GlideOptions) -> Glide:
    network = _empty(options)
    network.load_state_dict(load_file(file), assign=True)
    return network


def _empty(options: GlideOptions) -> Glide:
    with torch.device("meta"):
        return Glide(options).eval()


def _words(file: Path, count: int) -> str:
    """Return the vocabulary in a file, once it has as many words as the network knows."""
    text = _text(file)
    try:
        words = json.loads(text)
    except ValueError as error:
        raise ValueError(f"glide: expected a vocabulary in {file}, but found: {first_line(error)}") from error
    if len(words) != count:
        raise ValueError(f"glide: expected {count} words in {file}, found {len(words)}")
    return text


def _text(file: Path) -> str:
    data = file.read_bytes()
    try:
        return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"glide: expected byte pairs in {file}, but found: {first_line(error)}") from error
