"""The atlas: one page, complete in itself, of the failures that a search has found, sorted by cause."""

import base64
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tuning.sage.failures import Picture, Saved
from tuning.sage.people.agreement import about, most_said
from tuning.sage.people.causes import CAUSES, UNEXPLAINED, Cause, Evidence, Vocabulary, causes
from tuning.sage.people.labelling import Labels
from tuning.sage.people.markup import png, render

FILE = "atlas.html"
LARGEST_PX = 256
"""Side to which pictures are shrunk for the page; those in failures/ stay as they are."""


class Example(NamedTuple):
    """A failure as the page shows it."""

    saved: Saved
    evidence: Evidence
    also: list[str]
    """Further causes whose rules hold."""
    raters: int
    command: str

    @property
    def before(self) -> str:
        """The picture of the plain prompt and seed, as base64."""
        return _embedded(self.saved.before)

    @property
    def after(self) -> str:
        """The picture that fails, as base64."""
        return _embedded(self.saved.after)

    @property
    def measured(self) -> str:
        """The tests of its latent, its prompt or its vectors."""
        return ", ".join(f"{name} {value:.3g}" for name, value in self.saved.failure.measured.items())


class Group(NamedTuple):
    """The failures of one cause, the largest objective first."""

    cause: Cause
    examples: list[Example]
    total: int
    """With those that are not shown."""


def atlas(
    saved: Sequence[Saved], vocabulary: Vocabulary, run: Path, labels: Labels | None = None, limit: int = 12
) -> str:
    """Return the page: groups by size, at most `limit` failures of each; everything in it is escaped."""
    models = sorted({one.failure.model for one in saved})
    return render(
        "atlas.html",
        groups=groups(saved, vocabulary, run, labels or {}, limit),
        total=len(saved),
        models=", ".join(models),
        rules=(*CAUSES, UNEXPLAINED),
        largest_px=LARGEST_PX,
    )


def groups(saved: Sequence[Saved], vocabulary: Vocabulary, run: Path, labels: Labels, limit: int) -> list[Group]:
    """Return the failures by cause, the largest group first."""
    found: dict[str, tuple[Cause, list[Example]]] = {}
    for one in sorted(saved, key=_clearest):
        evidence = Evidence(one.failure, vocabulary, most_said(labels, one.failure.sha256))
        first, *rest = causes(evidence)
        command = shlex.join(["seedquake", "replay", str(run / "failures" / one.failure.name)])
        raters = len(about(labels, one.failure.sha256))
        example = Example(one, evidence, [cause.name for cause in rest], raters, command)
        found.setdefault(first.name, (first, []))[1].append(example)
    sized = sorted(found.values(), key=lambda group: (-len(group[1]), group[0].name))
    return [Group(cause, examples[:limit], len(examples)) for cause, examples in sized]


def _clearest(saved: Saved) -> tuple[bool, float, str]:
    objective = saved.failure.objective
    return objective is None, -(objective or 0.0), saved.failure.name


def _embedded(picture: Picture) -> str:
    return base64.b64encode(png(picture, LARGEST_PX)).decode()
