"""What a trained model draws, and how near that lies to its training pictures."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Bool, Float32
from safetensors.numpy import load_file, save_file

from stages.arrays import Images
from stages.models.chunks import chunks
from stages.models.descriptors.base import Descriptor
from stages.models.descriptors.loading import load_descriptor
from stages.models.descriptors.pixels import Pixels
from stages.models.generator import Generator
from stages.models.loading import load_generator
from stages.neighbours.found import Found
from stages.neighbours.references import InMemory
from stages.neighbours.search import search
from stages.randomness import rng
from stages.sampling import SamplerSpec
from tuning.training.features import features
from tuning.training.trial import Task, placed

BATCH = 256
"""Pictures drawn together; part of a picture's last bits."""


@dataclass(frozen=True)
class Drawn:
    """What one model drew from n noises; NaN in the rows of a picture that is not finite."""

    pictures: Images
    embeddings: Float32[np.ndarray, "n d"]
    features: Float32[np.ndarray, "n f"]
    nearest: Float32[np.ndarray, " n"]
    """Each picture's score to its nearest training picture."""
    ratio: Float32[np.ndarray, " n"]
    """Distance in pixels to the nearest training picture, over that to the second nearest."""
    background: Float32[np.ndarray, " m"]
    """Each training picture's score to its nearest other one."""
    unseen: Float32[np.ndarray, " u"]
    """What pictures of the source score that the model was not trained on; empty where there are none."""


def draw(task: Task) -> None:
    """Draw from the model of a task, compare with its training set, and write the file `task.measured`."""
    data = task.model.data
    descriptor = load_descriptor(task.drawing.described(task.device))
    pictures, finite = sampled(task)
    training = data.load().images
    references = InMemory(embed(descriptor, training), descriptor.metric)
    embeddings = embed(descriptor, pictures)
    found = Drawn(
        pictures=pictures,
        embeddings=missing(embeddings, finite),
        features=missing(features(pictures, task.drawing.features, task.device), finite),
        nearest=missing(search(references, embeddings, 1).scores[:, 0], finite),
        ratio=missing(ratios(pictures, training), finite),
        background=without_self(search(references, references.gather(references.numbers()), 2)),
        unseen=unseen(task, descriptor, references),
    )
    partial = task.measured.with_suffix(".partial")
    save_file({name: np.ascontiguousarray(array) for name, array in asdict(found).items()}, partial)
    partial.replace(task.measured)


def read(task: Task) -> Drawn:
    """Return what the model of a task drew."""
    return Drawn(**load_file(task.measured))


def sampled(task: Task) -> tuple[Images, np.ndarray]:
    """Return a picture per noise, and whether it is finite. The same seed is the same noise in every question."""
    generator = load_generator(placed(str(task.folder / "model"), task.device))
    drawing = task.drawing
    seeds = range(drawing.first_seed, drawing.first_seed + drawing.noises)
    return pictures_of(generator, [(seed, "") for seed in seeds], drawing.sampler)


def pictures_of(
    generator: Generator, rows: Sequence[tuple[int, str]], sampler: SamplerSpec
) -> tuple[Images, Bool[np.ndarray, " n"]]:
    """Return a picture per seed and prompt, and whether it is finite; black where it is not."""
    shape = generator.latent_shape(sampler.size_px)
    drawn = []
    for chunk, real in chunks(rows, BATCH):
        seeds, prompts = [seed for seed, _ in chunk], [prompt for _, prompt in chunk]
        latents = [rng(seed, "latent").standard_normal(shape, dtype=np.float32) for seed in seeds]
        drawn += generator.pictures(latents, prompts, seeds, sampler)[:real]
    finite = np.array([picture is not None for picture in drawn])
    empty = np.zeros((*shape[1:], 3), np.uint8)
    return np.stack([empty if picture is None else picture for picture in drawn]), finite


def unseen(task: Task, descriptor: Descriptor, references: InMemory) -> Float32[np.ndarray, " u"]:
    """Return what pictures of the source score that are not in the training set."""
    rows = task.model.data.unseen(task.drawing.noises)
    if not len(rows):
        return np.empty(0, np.float32)
    others = embed(descriptor, task.model.data.source.load(rows).images)
    return search(references, others, 1).scores[:, 0]


def embed(descriptor: Descriptor, pictures: Images) -> Float32[np.ndarray, "n d"]:
    """Return the vectors of the pictures."""
    return descriptor.embed(list(pictures))


def missing(rows: np.ndarray, finite: np.ndarray) -> np.ndarray:
    """Return the rows with NaN where there is no picture."""
    rows = rows.copy()
    rows[~finite] = np.nan
    return rows


def ratios(pictures: Images, training: Images) -> Float32[np.ndarray, " n"]:
    """Return d1 / d2, the distances in pixels to the nearest and second nearest training picture.

    Below 1/3 a picture is a copy, after Yoon et al. 2023, "Diffusion Probabilistic Models Generalize when They Fail to
    Memorize".
    """
    pixels = Pixels("pixels", training.shape[1])
    found = search(InMemory(embed(pixels, training), pixels.metric), embed(pixels, pictures), 2)
    return found.scores[:, 0] / np.maximum(found.scores[:, 1], np.finfo(np.float32).tiny)


def without_self(found: Found) -> Float32[np.ndarray, " m"]:
    """Return the best score of each reference, among the two found, that is not its own."""
    own = found.items[:, 0] == np.arange(len(found.items))
    return np.where(own, found.scores[:, 1], found.scores[:, 0])
