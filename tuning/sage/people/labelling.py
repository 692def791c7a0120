"""The human check: which pictures of a run raters see, in what order, and what they have answered.

It is blind: the pictures that a search has found are mixed with controls, the pictures of the plain prompts and seeds
that its searches started from, and nothing but the pixels tells them apart.
"""

import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from pydantic import Field, ValidationError

from pipelines.config import UserError
from stages.base import Spec, digest
from stages.randomness import rng
from tuning.sage.failures import Picture, Saved, sha256

OTHER, NOTHING = "something else", "nothing recognisable"
FOLDER = "labels"
RATER = re.compile(r"[\w.-]{1,40}")

Labels: TypeAlias = Mapping[str, Mapping[str, str]]
"""What each rater has answered, by the SHA-256 of the picture."""


class Answer(Spec):
    """One line of a rater's file."""

    picture: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of its pixels.")
    answer: str | None = Field(description="What the rater sees; null takes the answer about the picture back.")
    at: str = Field(description="When, UTC.")


class Labelling:
    """What is asked about a run. Answers are kept at once, and nowhere but in the raters' files.

    So any number of raters and of servers may work at the same time. Raises `UserError` for a name that is none of a
    rater, a picture that is not asked about and an answer that is none of the choices.
    """

    def __init__(self, run: Path, saved: Sequence[Saved], classes: Sequence[str]) -> None:
        self.folder, self.saved = run / FOLDER, saved
        self.choices = tuple(dict.fromkeys((*classes, OTHER, NOTHING)))

    @cached_property
    def pictures(self) -> dict[str, Picture]:
        """What raters see: the found pictures and the controls, each once, by its token."""
        found = {sha256(one.after): one.after for one in self.saved}
        return {token(name): picture for name, picture in (found | controls(self.saved)).items()}

    @cached_property
    def named(self) -> dict[str, str]:
        """The SHA-256 of each picture, by its token."""
        return {one: sha256(picture) for one, picture in self.pictures.items()}

    def order(self, rater: str) -> list[str]:
        """Return the pictures in the order of a rater, which is another for each."""
        tokens = sorted(self.pictures)
        return [tokens[number] for number in rng(0, "label", known_rater(rater)).permutation(len(tokens))]

    def left(self, rater: str) -> list[str]:
        """Return the pictures that a rater has not answered yet, the next first."""
        answered = kept(self._file(rater))
        return [one for one in self.order(rater) if self.named[one] not in answered]

    def answer(self, rater: str, picture: str, answer: str) -> None:
        """Keep what a rater sees in a picture; a later answer about it counts."""
        if picture not in self.pictures:
            raise UserError(
                f"label: expected one of the {len(self.pictures)} pictures of this run, found another; reload"
            )
        if answer not in self.choices:
            raise UserError(f"label: expected one of {', '.join(self.choices)}, found {answer[:80]!r}")
        self._append(rater, self.named[picture], answer)

    def undo(self, rater: str) -> None:
        """Take the last answer of a rater back, if there is one; it is the next question then."""
        if answered := kept(self._file(rater)):
            self._append(rater, list(answered)[-1], None)

    def _file(self, rater: str) -> Path:
        return self.folder / f"{known_rater(rater)}.jsonl"

    def _append(self, rater: str, picture: str, answer: str | None) -> None:
        one = Answer(picture=picture, answer=answer, at=datetime.now(UTC).isoformat(timespec="seconds"))
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._file(rater).open("ab", buffering=0) as file:
            file.write(f"{one.model_dump_json()}\n".encode())  # one call, so that lines never mix
            os.fsync(file.fileno())


def known_rater(rater: str) -> str:
    """Return the name of a rater; raises `UserError` for a text that is none."""
    if RATER.fullmatch(rater) is None:
        raise UserError(
            f"label: expected a name of 1 to 40 letters, digits, '.', '_' and '-' for the rater, found {rater[:80]!r}"
        )
    return rater


def controls(saved: Sequence[Saved]) -> dict[str, Picture]:
    """Return the pictures of plain prompts and seeds that are no failures themselves, by their SHA-256."""
    failing = {sha256(one.after) for one in saved}
    plain = {sha256(one.before): one.before for one in saved if one.failure.search != "seed"}
    return {name: picture for name, picture in plain.items() if name not in failing}


def token(picture: str) -> str:
    """Return what a page calls a picture: a hash of its pixels that stands in no file of the run."""
    return digest(["picture", picture])


def read(run: Path) -> Labels:
    """Return the answers of every rater who has given any; raises `UserError` for a file that holds another line."""
    files = sorted((run / FOLDER).glob("*.jsonl"))
    return {file.stem: answered for file in files if (answered := kept(file))}


def kept(file: Path) -> dict[str, str]:
    """Return the answers in a rater's file by the SHA-256 of the picture, the last one last."""
    found: dict[str, str] = {}
    lines = file.read_text(encoding="utf-8").split("\n") if file.is_file() else []
    for number, line in enumerate(filter(None, lines), 1):
        try:
            one = Answer.model_validate_json(line)
        except ValidationError:
            raise UserError(
                f"{file}, line {number}: expected an answer, found {line[:80]!r}; delete the line"
            ) from None
        found.pop(one.picture, None)
        if one.answer is not None:
            found[one.picture] = one.answer
    return found
