"""ClipScore: how well each picture fits its prompt."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from pydantic import Field
from typing_extensions import override

from stages.base import Batch, Column, Stage, spread
from stages.models.chunks import chunks
from stages.models.spec import ModelSpec


class ClipScoreSpec(ModelSpec):
    """Which CLIP, and what its columns are called."""

    prefix: str = Field("", pattern=r"^([a-z][a-z0-9_]*_)?$", description="Put before every column, such as 'large_'.")


class ClipScore(Stage[ClipScoreSpec]):
    """Measure how well each picture fits its prompt: Hessel et al. 2021 (arXiv:2104.08718), Eq. 1 with w = 100.

    The score is 100 max(cos, 0); published numbers also use w = 2.5, or the cosine. Missing without a picture.

    Columns, before the prefix: reads image uint8 [h w 3] or None [b], prompt str [b]; writes clip_score, clip_cosine
    float64 [b].
    """

    reads: ClassVar = ("image", "prompt")

    @override
    @classmethod
    def columns(cls, spec: ClipScoreSpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return cls.reads, (f"{spec.prefix}clip_score", f"{spec.prefix}clip_cosine")

    def __init__(self, spec: ClipScoreSpec) -> None:
        from stages.models.clip import load_clip

        super().__init__(spec)
        self.clip = load_clip(spec)

    @override
    def transform(self, batch: Mapping[str, Column]) -> Batch:
        pictures, prompts = batch["image"], batch["prompt"]
        seen = [row for row in range(len(pictures)) if pictures[row] is not None]
        found: list[float] = []
        for chunk, real in chunks(seen, self.spec.batch):
            cosines = self.clip.cosine([pictures[row] for row in chunk], [prompts[row] for row in chunk])
            found += cosines[:real].tolist()
        cosine = spread(found, seen, len(pictures))
        score, raw = self.columns(self.spec)[1]
        return {score: 100 * np.maximum(cosine, 0), raw: cosine}
