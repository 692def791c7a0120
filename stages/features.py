"""Features: what a classifier's last layer reads of each picture, and what it makes of it, for FID and its kin."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Float32
from pydantic import Field
from scipy.special import softmax
from typing_extensions import override

from stages.base import Batch, Column, Stage, objects
from stages.models.chunks import chunks
from stages.models.spec import ModelSpec


class FeaturesSpec(ModelSpec):
    """Which classifier is the extractor, how a picture is brought to its size, and what its columns are called."""

    resize: Literal["own", "bilinear", "bicubic"] = Field(
        "own",
        description="The classifier's own transform, or both sides squeezed to its size by that filter of Pillow's, "
        "which averages as it shrinks.",
    )
    prefix: str = Field("", pattern=r"^([a-z][a-z0-9_]*_)?$", description="Put before every column, such as 'judge_'.")

    @property
    def name(self) -> str:
        """Return what is part of every score's name: numbers of another name must not be compared."""
        return f"{self.model}, {self.resize} resize"


class Vectors(NamedTuple):
    """What the extractor gives, a row a picture."""

    features: Float32[np.ndarray, "n d"]
    probabilities: Float32[np.ndarray, "n k"]


class Features(Stage[FeaturesSpec]):
    """Write each picture's features, and the probabilities of all classes.

    Columns, before the prefix: reads image uint8 [h w 3] or None [b]; writes features float32 [d] or None [b],
    probabilities float32 [k] or None [b].
    """

    reads: ClassVar = ("image",)

    @override
    @classmethod
    def columns(cls, spec: FeaturesSpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return cls.reads, (f"{spec.prefix}features", f"{spec.prefix}probabilities")

    def __init__(self, spec: FeaturesSpec) -> None:
        from stages.models.classifiers import load_classifier

        super().__init__(spec)
        self.classifier = load_classifier(spec)
        if spec.resize != "own" and self.classifier.side is None:
            raise ValueError(
                f"extractor {spec.model!r}: expected a classifier that says the size of its input for "
                f"resize={spec.resize!r}, found none; set resize=own"
            )

    @override
    def transform(self, batch: Mapping[str, Column]) -> Batch:
        pictures = batch["image"]
        seen = [row for row in range(len(pictures)) if pictures[row] is not None]
        columns = []
        for vectors in self.vectors([pictures[row] for row in seen]):
            found = dict(zip(seen, vectors, strict=True))
            columns.append(objects(found.get(row) for row in range(len(pictures))))
        return dict(zip(self.columns(self.spec)[1], columns, strict=True))

    def vectors(self, pictures: Sequence[np.ndarray]) -> Vectors:
        """Return what the extractor makes of pictures uint8 [h w 3]."""
        features, logits = [], []
        for chunk, real in chunks(pictures, self.spec.batch):
            found = self.classifier.seen([self._sized(p) for p in chunk], sized=self.spec.resize != "own")
            features.append(found.features.numpy()[:real])
            logits.append(found.logits.numpy()[:real])
        if not features:
            return Vectors(np.empty((0, 0), np.float32), np.empty((0, self.classifier.classes), np.float32))
        return Vectors(np.concatenate(features), softmax(np.concatenate(logits), axis=1))

    def _sized(self, picture: np.ndarray) -> np.ndarray:
        """Return the picture squeezed to the extractor's square, unless the classifier's own transform is asked for."""
        side = self.classifier.side
        if self.spec.resize == "own" or side is None or picture.shape[:2] == (side, side):
            return picture
        import PIL.Image

        kind = PIL.Image.Resampling[self.spec.resize.upper()]
        return np.asarray(PIL.Image.fromarray(picture).resize((side, side), kind))
