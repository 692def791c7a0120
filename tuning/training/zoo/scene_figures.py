"""The figures of the models of scenes, measured on scenes and captions that no model has seen."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import open_clip
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from transformers import AutoModelForCausalLM, CLIPTokenizer

from stages.models.generator import Stepwise
from stages.models.loading import load_generator
from stages.models.spec import ModelSpec
from stages.models.zoo import Figure, scenes, world
from stages.models.zoo.sentences import UNSAID, VALUES, Claims, texts
from stages.randomness import rng
from tuning.sage.edges import Edges
from tuning.training.zoo.augment import AugmentSpec, augment
from tuning.training.zoo.captioned_figures import DDIM, draw
from tuning.training.zoo.classifier import normalise
from tuning.training.zoo.clip import tokenize
from tuning.training.zoo.data import Grammar, pictures
from tuning.training.zoo.language_model import said, surprises
from tuning.training.zoo.loop import generator
from tuning.training.zoo.measure import PROMPTS, Pictures, load_classifier, predict, reconstruction, share, zero_shot
from tuning.training.zoo.style import StyleSpec, restyle

IMAGES = 2400
WORLDS: dict[Grammar, str] = {"scene": "scenes", "thing": "plain things"}
CLASS_PROMPTS = [world.caption(thing) for thing in world.CLASSES]
SPOKEN = {
    "shape": "object",
    "other_shape": "other object",
    "other_colour": "colour of the other object",
    "tone": "colour of the background",
    "surface": "pattern of the background",
}
"""What claims are called on a card where their own name does not say it."""

Look = Callable[[Pictures], Pictures]


def scene_figures(name: str, folder: Path, weights: Path) -> tuple[Figure, ...]:
    """Return the figures of a model of scenes; the judges of what is drawn are those in `weights`."""
    match name:
        case "scenes":
            return scene_model_figures(folder, weights)
        case "scenes-clip":
            return scene_clip_figures(folder)
        case "scenes-lm":
            return language_figures(folder)
        case _:
            return scene_classifier_figures(folder, Edges() if name == "scenes-edges" else None)


def unseen(images: int = IMAGES) -> Int64[np.ndarray, " b"]:
    """Return the first indices that no model was trained on."""
    return np.arange(world.HELD_OUT, world.HELD_OUT + images)


def scene_classifier_figures(folder: Path, edges: Edges | None = None) -> tuple[Figure, ...]:
    """Top-1 of the main object on scenes and on plain things: as they are and changed, or their edges."""
    model, index = load_classifier(folder), unseen()
    label = torch.from_numpy(world.labels(index))
    figures = []
    for grammar, of in WORLDS.items():
        x = pictures(index, grammar)
        for name, look in looks(edges).items():
            figures.append(share(f"top-1, {of}{name}", predict(model, look(x)) == label))
    return tuple(figures)


def looks(edges: Edges | None) -> dict[str, Look]:
    """Return what classifiers are shown of pictures, by name."""
    if edges is not None:
        return {
            ", soft edges": lambda x: edges.soft(x).expand_as(x),
            ", Canny's edges": lambda x: edges.canny(x).expand_as(x),
        }
    return {
        "": lambda x: x,
        ", restyled": lambda x: restyle(x, StyleSpec(), generator(0, "measure")),
        ", all training changes": lambda x: augment(x, AugmentSpec(), generator(0, "measure")),
    }


def scene_clip_figures(folder: Path) -> tuple[Figure, ...]:
    """Zero-shot accuracy of the main object, and how often a true caption beats one that is false in one claim."""
    index = unseen()
    label = torch.from_numpy(world.labels(index))
    figures = [
        share(f"zero-shot, object, {of}", zero_shot(folder, pictures(index, grammar), CLASS_PROMPTS) == label)
        for grammar, of in WORLDS.items()
    ]
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    words = open_clip.get_tokenizer(f"local-dir:{folder}")
    image = _image_vectors(model, pictures(index, "scene"))
    for name in (name for name in VALUES if name != "joiner"):
        pairs = changed_captions(index, name)
        true, false = (_text_vectors(model, words(side)) for side in (pairs.true, pairs.false))
        seen = image[torch.from_numpy(pairs.row)]
        hits = (seen * (true - false)).sum(dim=1) > 0
        figures.append(share(f"true caption before one of another {SPOKEN.get(name, name)}", hits))
    return tuple(figures)


class Pairs(NamedTuple):
    """Captions that are true of their picture, and beside each one that is false in one claim."""

    row: Int64[np.ndarray, " p"]
    true: list[str]
    false: list[str]


def changed_captions(index: Int64[np.ndarray, " b"], name: str) -> Pairs:
    """Return the captions of pictures that claim `name`, with that claim changed to a random false one."""
    claims = scenes.claims(index)
    value, count = getattr(claims, name), len(VALUES[name])
    shift = rng(0, "measure", name).integers(1, count, len(index))
    other = replace(claims, **{name: np.where(value == UNSAID, UNSAID, (value + shift) % count)})
    row = np.flatnonzero((value != UNSAID) & ~scenes.holds(index, other))
    return Pairs(row, texts(_rows(claims, row)), texts(_rows(other, row)))


def _rows(claims: Claims, row: Int64[np.ndarray, " p"]) -> Claims:
    return Claims(**{name: getattr(claims, name)[row] for name in VALUES})


@torch.no_grad()
def _image_vectors(model: open_clip.CLIP, x: Pictures) -> Float[Tensor, "b d"]:
    return torch.cat([model.encode_image(normalise(part), normalize=True) for part in x.split(96)])


@torch.no_grad()
def _text_vectors(model: open_clip.CLIP, ids: Int64[Tensor, "b t"]) -> Float[Tensor, "b d"]:
    return torch.cat([model.encode_text(part, normalize=True) for part in ids.split(192)])


def scene_model_figures(folder: Path, judges: Path, count: int = 2 * len(PROMPTS)) -> tuple[Figure, ...]:
    """Measure which objects are seen in pictures of plain prompts and of rich captions, and the autoencoder's error."""
    model = cast("Stepwise", load_generator(ModelSpec(model=str(folder), device="cpu")))
    rich = rich_captions(count)
    asked = {
        "plain prompts": (PROMPTS, world.labels(range(count))),
        "rich captions": (scenes.captions(rich), world.labels(rich)),
    }
    figures = []
    for name, (prompts, label) in asked.items():
        x = draw(model, range(count), DDIM, asked=prompts)
        for judge in ("scenes-style", "scenes-judge"):
            hits = predict(load_classifier(judges / judge), x) == torch.from_numpy(label)
            figures.append(share(f"object by {judge}, {name}, guidance {DDIM.guidance:g}, {DDIM.steps} steps", hits))
    both = (reconstruction(model.pipe.vae, grammar, f"autoencoder PSNR, {of}, dB") for grammar, of in WORLDS.items())
    return (*figures, *both)


def rich_captions(count: int) -> Int64[np.ndarray, " b"]:
    """Return the first unseen indices whose captions say more than thing and colour."""
    index = unseen(4 * count)
    claims = scenes.claims(index)
    more = [getattr(claims, name) != UNSAID for name in VALUES if name not in {"shape", "colour"}]
    return index[np.any(more, axis=0)][:count]


def language_figures(folder: Path, counted: int = 50_000) -> tuple[Figure, ...]:
    """Measure the perplexity of a token on unseen captions, beside that of the tokens' frequencies alone."""
    tokens = CLIPTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = tokenize(tokens, scenes.captions(unseen()))
    with torch.no_grad():
        nats = torch.cat(
            [surprises(model(part, attention_mask=torch.ones_like(part)).logits, part) for part in ids.split(192)]
        )
    seen = tokenize(tokens, scenes.captions(range(counted)))
    alone = unigram(seen[:, 1:][said(seen)], len(tokens))[ids[:, 1:]]
    return (
        perplexity("perplexity of a token, unseen captions", nats, said(ids)),
        perplexity("perplexity of a token by its frequency", alone, said(ids)),
    )


def unigram(tokens: Int64[Tensor, " n"], vocabulary: int) -> Float[Tensor, " v"]:
    """Return -log of each token's frequency, every token counted once more than it occurs."""
    return -torch.log((tokens.bincount(minlength=vocabulary) + 1) / (len(tokens) + vocabulary))


def perplexity(name: str, nats: Float[Tensor, "b s"], counts: Tensor) -> Figure:
    """Return the exponential of the mean surprise of the tokens that count; its interval takes captions as drawn.

    Linearised: a caption's residual is its surprise less the mean for its length.
    """
    total, length = (nats * counts).double().sum(dim=1), counts.double().sum(dim=1)
    log = float(total.sum() / length.sum())
    half = 1.96 * float((total - log * length).square().sum().sqrt() / length.sum())
    value, low, high = (math.exp(x) for x in (log, log - half, log + half))
    return Figure(name=name, value=value, low=low, high=high, n=len(nats))
