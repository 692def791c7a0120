"""FAISS indexes of references: trained, built, kept in a file, searched."""

import os
import uuid
from pathlib import Path

import faiss
import numpy as np

from stages.base import digest
from stages.neighbours.engines import Trained
from stages.neighbours.found import Best, Found, Vectors, cost, pair_scores
from stages.neighbours.index import Index
from stages.neighbours.references import References
from stages.randomness import rng

TRAINING_ROWS_A_LIST = 48
"""FAISS asks for 39 or more; each is one float32 vector in memory."""
TRAINING_ROWS = 2**16
"""At least, for quantisers."""
ROUNDS = 10
"""Of k-means: FAISS's default of 25 finds the same recall, later."""
ADDED_ROWS = 2**14
GATHERED_NUMBERS = 2**22
"""Of stored vectors that are scored again at once."""
STORAGE = {"float16": "SQfp16", "float32": "Flat"}


class TrainedSearch:
    """Search by a FAISS index; what it proposes is scored again from the stored vectors."""

    def __init__(self, engine: Trained, references: References) -> None:
        self.engine, self.references = engine, references
        self.index = load(engine, references)
        self.numbers = references.numbers()
        engine.tune(self.index)

    def __call__(self, vectors: Vectors, k: int) -> Found:
        """Return the k nearest of those that FAISS proposes."""
        metric, best = self.references.metric, Best(len(vectors), k)
        _, places = self.index.search(vectors, min(k * self.engine.rescored, self.references.count))
        step = max(1, GATHERED_NUMBERS // (self.references.dimension * places.shape[1]))
        for start in range(0, len(vectors), step):
            rows, columns = np.nonzero(places[start : start + step] >= 0)
            rows += start
            items = self.numbers[places[rows, columns]]
            scores = pair_scores(vectors[rows], self.references.gather(items), metric)
            best.add(rows, cost(scores, metric), items)
        return best.found(metric)


def load(engine: Trained, references: References) -> faiss.Index:
    """Return the FAISS index: from its file if there is one, else built, and kept if the references have a folder."""
    if not isinstance(references, Index):
        return build(engine, references)
    path = file_of(engine, references)
    if not path.is_file():
        publish(build(engine, references), path)
    try:
        return faiss.read_index(str(path))
    except RuntimeError:
        raise ValueError(f"index: expected an index of FAISS in {path}, found another file; delete it") from None


def file_of(engine: Trained, index: Index) -> Path:
    """Return where the FAISS index is kept: its name says what it was built from."""
    settings = engine.model_dump(mode="json", exclude=set(engine.when_searching))
    return index.folder / "engines" / f"{settings['kind']}-{digest(settings)[:12]}-{index.fingerprint}.faiss"


def build(engine: Trained, references: References) -> faiss.Index:
    """Return the FAISS index, trained on a sample and filled block by block."""
    recipe = engine.recipe(references, STORAGE[references.dtype])
    metric = faiss.METRIC_INNER_PRODUCT if references.metric == "cosine" else faiss.METRIC_L2
    index = faiss.index_factory(references.dimension, recipe, metric)
    if not index.is_trained:
        train(index, references)
    for _, block in references.blocks(ADDED_ROWS):
        index.add(block)
    return index


def train(index: faiss.Index, references: References) -> None:
    """Train on references drawn at random, always the same ones."""
    lists = faiss.try_extract_index_ivf(index)
    rows = TRAINING_ROWS
    if lists is not None:
        lists.cp.niter = ROUNDS
        lists.cp.min_points_per_centroid = 1  # few references: a warning would help nobody
        rows = max(rows, TRAINING_ROWS_A_LIST * lists.nlist)
    numbers = references.numbers()
    drawn = rng(0, "train", references.count).choice(len(numbers), min(rows, len(numbers)), replace=False)
    index.train(references.gather(numbers[np.sort(drawn)]))


def publish(index: faiss.Index, path: Path) -> None:
    """Write the file aside, then move it to its name, so that no process reads half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    faiss.write_index(index, str(aside))
    os.replace(aside, path)  # noqa: PTH105  as Path.replace, which mypy takes for str.replace
