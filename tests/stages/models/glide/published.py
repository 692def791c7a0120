"""GLIDE as it is published, restated from its description: names and shapes of the weights, and plain functions.

Nothing here knows the module under test. Sizes come as a dictionary of the published option names.
"""

import gzip
import json
import math
from itertools import pairwise
from pathlib import Path

import torch
from torch.nn import functional as F  # noqa: N812

TINY = {
    "image_size": 8,
    "num_channels": 32,
    "num_res_blocks": 1,
    "channel_mult": (1, 2),
    "attention": (4,),
    "num_head_channels": 16,
    "text_ctx": 8,
    "xf_width": 12,
    "xf_layers": 2,
    "xf_heads": 3,
    "super_res": False,
}
TINY_UPSAMPLER = TINY | {"image_size": 16, "channel_mult": (1, 1, 2), "attention": (8, 4), "super_res": True}
BYTES = [*range(33, 127), *range(161, 173), *range(174, 256)]
LETTERS = [chr(b) for b in BYTES] + [chr(256 + n) for n in range(256 - len(BYTES))]
MERGES = [("c", "a"), ("ca", "t"), ("Ġ", "a"), ("Ġ", "cat"), ("t", "h"), ("th", "e")]
WORDS = [*LETTERS, *("".join(pair) for pair in MERGES), "<|endoftext|>"]


def layout(o):
    """Every block as (kind, name, sizes), in the order in which a forward pass meets them."""
    blocks, c = [], o["num_channels"]
    width, passed, number = c * o["channel_mult"][0], [], 0
    blocks.append(("input", [("conv", "input_blocks.0.0", (6 if o["super_res"] else 3, width))]))
    passed.append(width)
    for level, m in enumerate(o["channel_mult"]):
        for _ in range(o["num_res_blocks"]):
            number += 1
            blocks.append(("input", pair(o, f"input_blocks.{number}", level, width, c * m)))
            width = c * m
            passed.append(width)
        if level + 1 < len(o["channel_mult"]):
            number += 1
            blocks.append(("input", [("down", f"input_blocks.{number}.0", (width, width))]))
            passed.append(width)
    names = [("res", "middle_block.0"), ("attn", "middle_block.1"), ("res", "middle_block.2")]
    blocks.append(("middle", [(kind, name, (width, width)) for kind, name in names]))
    number = 0
    for level in reversed(range(len(o["channel_mult"]))):
        for i in range(o["num_res_blocks"] + 1):
            out = c * o["channel_mult"][level]
            layers = pair(o, f"output_blocks.{number}", level, width + passed.pop(), out)
            if level and i == o["num_res_blocks"]:
                layers.append(("up", f"output_blocks.{number}.{len(layers)}", (out, out)))
            blocks.append(("output", layers))
            width, number = out, number + 1
    return blocks


def pair(o, name, level, inputs, outputs):
    layers = [("res", f"{name}.0", (inputs, outputs))]
    if o["image_size"] // 2**level in o["attention"]:
        layers.append(("attn", f"{name}.1", (outputs, outputs)))
    return layers


def shapes(o):
    """Every weight of a checkpoint."""
    w, c, time = o["xf_width"], o["num_channels"], 4 * o["num_channels"]
    found = {
        "token_embedding.weight": (len(WORDS), w),
        "positional_embedding": (o["text_ctx"], w),
        "padding_embedding": (o["text_ctx"], w),
    }
    for n in range(o["xf_layers"]):
        found |= linear(f"transformer.resblocks.{n}.attn.c_qkv", w, 3 * w)
        found |= linear(f"transformer.resblocks.{n}.attn.c_proj", w, w)
        found |= linear(f"transformer.resblocks.{n}.mlp.c_fc", w, 4 * w)
        found |= linear(f"transformer.resblocks.{n}.mlp.c_proj", 4 * w, w)
        found |= norm(f"transformer.resblocks.{n}.ln_1", w) | norm(f"transformer.resblocks.{n}.ln_2", w)
    found |= norm("final_ln", w) | linear("transformer_proj", w, time)
    found |= linear("time_embed.0", c, time) | linear("time_embed.2", time, time)
    for _, layers in layout(o):
        for kind, name, (inputs, outputs) in layers:
            if kind == "conv":
                found |= conv(name, inputs, outputs, 3, 3)
            elif kind == "attn":
                found |= norm(f"{name}.norm", inputs) | conv(f"{name}.qkv", inputs, 3 * inputs, 1)
                found |= conv(f"{name}.encoder_kv", w, 2 * inputs, 1) | conv(f"{name}.proj_out", inputs, inputs, 1)
            else:
                found |= norm(f"{name}.in_layers.0", inputs) | conv(f"{name}.in_layers.2", inputs, outputs, 3, 3)
                found |= linear(f"{name}.emb_layers.1", time, 2 * outputs) | norm(f"{name}.out_layers.0", outputs)
                found |= conv(f"{name}.out_layers.3", outputs, outputs, 3, 3)
                if inputs != outputs:
                    found |= conv(f"{name}.skip_connection", inputs, outputs, 1, 1)
    first = c * o["channel_mult"][0]
    return found | norm("out.0", first) | conv("out.2", first, 6, 3, 3)


def linear(name, inputs, outputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def conv(name, inputs, outputs, *kernel):
    return {f"{name}.weight": (outputs, inputs, *kernel), f"{name}.bias": (outputs,)}


def checkpoint(o, seed=0):
    """Random weights under the published names."""
    random = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=random) * 0.2 for name, shape in shapes(o).items()}


def answer(p, o, x, t, tokens, mask, low_res=None):  # noqa: PLR0917  the published arguments
    """The network's six channels."""
    if low_res is not None:
        x = torch.cat([x, F.interpolate(low_res, x.shape[2:], mode="bilinear", align_corners=False)], dim=1)
    width = o["num_channels"]
    rates = [math.exp(-math.log(10000) * i / (width // 2)) for i in range(width // 2)]
    waves = [f(float(t) * rate) for f in (math.cos, math.sin) for rate in rates]
    emb = full(p, "time_embed.2", F.silu(full(p, "time_embed.0", torch.tensor([waves]))))
    text = words(p, o, tokens, mask)
    emb = emb + full(p, "transformer_proj", text[:, -1])
    skips = []
    for part, layers in layout(o):
        if part == "output":
            x = torch.cat([x, skips.pop()], dim=1)
        for kind, name, _ in layers:
            if kind == "conv":
                x = F.conv2d(x, p[f"{name}.weight"], p[f"{name}.bias"], padding=1)
            elif kind == "attn":
                x = attend(p, o, name, x, text)
            else:
                x = residual(p, name, x, emb, kind)
        if part == "input":
            skips.append(x)
    x = F.silu(group(p, "out.0", x))
    return F.conv2d(x, p["out.2.weight"], p["out.2.bias"], padding=1)


def full(p, name, x):
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def group(p, name, x):
    """Normalise 32 groups of channels by hand."""
    y = x.reshape(len(x), 32, -1)
    y = (y - y.mean(2, keepdim=True)) / (y.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()
    return y.reshape(x.shape) * p[f"{name}.weight"].view(-1, 1, 1) + p[f"{name}.bias"].view(-1, 1, 1)


def residual(p, name, x, emb, kind):
    h = F.silu(group(p, f"{name}.in_layers.0", x))
    if kind == "up":
        h, x = (y.repeat_interleave(2, 2).repeat_interleave(2, 3) for y in (h, x))
    if kind == "down":
        h, x = (
            (y[:, :, ::2] + y[:, :, 1::2])[..., ::2] / 4 + (y[:, :, ::2] + y[:, :, 1::2])[..., 1::2] / 4 for y in (h, x)
        )
    h = F.conv2d(h, p[f"{name}.in_layers.2.weight"], p[f"{name}.in_layers.2.bias"], padding=1)
    change = full(p, f"{name}.emb_layers.1", F.silu(emb))
    half = change.shape[1] // 2
    scale, shift = change[:, :half, None, None], change[:, half:, None, None]
    h = F.silu(group(p, f"{name}.out_layers.0", h) * (1 + scale) + shift)
    h = F.conv2d(h, p[f"{name}.out_layers.3.weight"], p[f"{name}.out_layers.3.bias"], padding=1)
    if f"{name}.skip_connection.weight" in p:
        x = F.conv2d(x, p[f"{name}.skip_connection.weight"], p[f"{name}.skip_connection.bias"])
    return x + h


def attend(p, o, name, x, text):
    """Head by head: its query, key and value are neighbours in qkv, its key and value in encoder_kv."""
    b, c, h, w = x.shape
    d = o["num_head_channels"]
    flat = group(p, f"{name}.norm", x).reshape(b, c, h * w)
    qkv = p[f"{name}.qkv.weight"][:, :, 0] @ flat + p[f"{name}.qkv.bias"][:, None]
    kv = p[f"{name}.encoder_kv.weight"][:, :, 0] @ text.transpose(1, 2) + p[f"{name}.encoder_kv.bias"][:, None]
    heads = []
    for n in range(c // d):
        q, k, v = qkv[:, 3 * d * n : 3 * d * (n + 1)].split(d, dim=1)
        ek, ev = kv[:, 2 * d * n : 2 * d * (n + 1)].split(d, dim=1)
        k, v = torch.cat([ek, k], dim=2), torch.cat([ev, v], dim=2)
        weight = torch.softmax(q.transpose(1, 2) @ k / d**0.5, dim=-1)
        heads.append(v @ weight.transpose(1, 2))
    out = p[f"{name}.proj_out.weight"][:, :, 0] @ torch.cat(heads, dim=1) + p[f"{name}.proj_out.bias"][:, None]
    return x + out.reshape(b, c, h, w)


def words(p, o, tokens, mask):
    """The text transformer, with padding where the mask is false."""
    x = p["token_embedding.weight"][tokens] + p["positional_embedding"]
    x = torch.where(mask[:, :, None], x, p["padding_embedding"])
    d = o["xf_width"] // o["xf_heads"]
    for n in range(o["xf_layers"]):
        name = f"transformer.resblocks.{n}"
        qkv, heads = full(p, f"{name}.attn.c_qkv", layer_norm(p, f"{name}.ln_1", x)), []
        for i in range(o["xf_heads"]):
            q, k, v = qkv[..., 3 * d * i : 3 * d * (i + 1)].split(d, dim=-1)
            heads.append(torch.softmax(q @ k.transpose(1, 2) / d**0.5, dim=-1) @ v)
        x = x + full(p, f"{name}.attn.c_proj", torch.cat(heads, dim=-1))
        y = full(p, f"{name}.mlp.c_fc", layer_norm(p, f"{name}.ln_2", x))
        x = x + full(p, f"{name}.mlp.c_proj", y * (1 + torch.erf(y / 2**0.5)) / 2)
    return layer_norm(p, "final_ln", x)


def layer_norm(p, name, x):
    y = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    return y * p[f"{name}.weight"] + p[f"{name}.bias"]


def encode(text):
    """Byte pairs of lower-case text whose words are letters only; a space belongs to the word after it."""
    ids = []
    for word in text.lower().replace(" ", "\0 ").split("\0"):
        parts = ["Ġ" if letter == " " else letter for letter in word]
        while pairs := [p for p in pairwise(parts) if p in MERGES]:
            best = min(pairs, key=MERGES.index)
            i = next(i for i in range(len(parts)) if (parts[i], *parts[i + 1 : i + 2]) == best)
            parts[i : i + 2] = ["".join(best)]
        ids += [WORDS.index(part) for part in parts]
    return ids


def padded(o, text):
    """Tokens and mask of a text; the padding is the last word."""
    ids = encode(text)[: o["text_ctx"]] if text else []
    missing = o["text_ctx"] - len(ids)
    return torch.tensor([ids + [len(WORDS) - 1] * missing]), torch.tensor([[True] * len(ids) + [False] * missing])


def write(folder: Path, seed=0):
    """The four published files: base.pt, upsample.pt, encoder.json.gz, vocab.bpe.gz."""
    torch.save(checkpoint(TINY, seed), folder / "base.pt")
    torch.save(checkpoint(TINY_UPSAMPLER, seed + 1), folder / "upsample.pt")
    vocabulary = json.dumps({word: n for n, word in enumerate(WORDS)})
    (folder / "encoder.json.gz").write_bytes(gzip.compress(vocabulary.encode()))
    merges = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in MERGES), ""])
    (folder / "vocab.bpe.gz").write_bytes(gzip.compress(merges.encode()))
