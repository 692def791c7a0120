"""What a search for a token is told, what it keeps of each search under way, and what it finds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float32
from pydantic import Field, model_validator

from stages.base import Spec
from stages.randomness import rng
from tuning.sage.prompts.pictures import PicturesSpec
from tuning.sage.targets import AnyTarget, position

Token: TypeAlias = Float32[np.ndarray, "1 width"]
"""One vector, as it stands behind a prompt."""

TokenControl: TypeAlias = Literal["random_vector", "random_word", "target_word", "random_search"]


class LabelledPrompt(Spec):
    """A prompt, and the class that it names."""

    text: str = Field(min_length=1)
    label: str = Field(min_length=1, description="One of the label set.")

    @property
    def read(self) -> str:
        """The text as CLIP reads it, to which case and spaces are nothing."""
        return " ".join(self.text.lower().split())


class Shot(NamedTuple):
    """One picture: a prompt on a seed."""

    prompt: LabelledPrompt
    seed: int


class PromptGrid(Spec):
    """Every prompt on every seed."""

    prompts: tuple[LabelledPrompt, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1, description="Of the latents.")

    @model_validator(mode="after")
    def _differ(self) -> "PromptGrid":
        _distinct("prompts", [prompt.read for prompt in self.prompts])
        _distinct("seeds", self.seeds)
        return self


class TokenSettings(PicturesSpec):
    """How a token is searched: Liu et al. 2023 (arXiv:2306.00974); iterations, step and box as in its pseudo-code.

    The paper's box is absolute. Entries of CLIP's own embeddings are about 0.01 to 0.05, so that 2.5 is far outside of
    all real tokens; `scale='rms'` measures box and step by the entries that the table has.
    """

    iterations: int = Field(
        100, ge=0, le=100_000, description="Sign steps, a minibatch of pictures each; 0 keeps the start."
    )
    step: float = Field(0.05, ge=0, description="Length of a step in every entry of the vector, in units of `scale`.")
    box: float = Field(2.5, gt=0, description="Largest |entry| of the vector, in units of `scale`.")
    scale: Literal["absolute", "rms"] = Field(
        "absolute", description="The unit of step and box: 1, or the root mean square of the token table's entries."
    )
    start: str = Field("zero", min_length=1, description="'zero', 'mean' for that of the token table, or a word.")
    minibatch: int | None = Field(None, ge=1, description="Train pictures an iteration; null: all of them.")
    order: Literal["cyclic", "drawn"] = Field(
        "cyclic", description="Minibatches by turns in an order once drawn, or each drawn by itself."
    )
    order_seed: int = Field(0, ge=0, description="Of that order, and of random search.")
    check_every: int = Field(
        10, ge=1, description="Iterations between draws of all train pictures; the start and the end are always drawn."
    )
    keep: Literal["best", "last"] = Field("best", description="By the loss of those draws, or simply the end.")
    words: tuple[str, ...] | None = Field(
        None, min_length=1, description="Of the control random_word; null: every token that ends a word, of no class."
    )
    controls: tuple[TokenControl, ...] = ("random_vector", "random_word", "target_word", "random_search")


class TokenSearchSpec(TokenSettings):
    """Those settings, with the prompts and seeds that it is trained and tried on."""

    train: PromptGrid = Field(description="What the token is trained on.")
    held_out: PromptGrid = Field(description="Prompts and seeds that the search never sees.")

    @model_validator(mode="after")
    def _held_out_is_new(self) -> "TokenSearchSpec":
        known = {prompt.read for prompt in self.train.prompts}
        _new("prompts", [prompt.text for prompt in self.held_out.prompts if prompt.read in known])
        _new("seeds", sorted({*self.held_out.seeds} & {*self.train.seeds}))
        return self

    def chosen(self, shots: Sequence[Shot], iteration: int) -> list[Shot]:
        """Return the minibatch of an iteration, out of all train pictures; raises ValueError where it is larger."""
        size = self.minibatch or len(shots)
        if size > len(shots):
            raise ValueError(
                f"token search: expected a minibatch of at most the {len(shots)} train pictures, found {size}; "
                "name more train prompts or seeds"
            )
        if self.order == "drawn":
            numbers = rng(self.order_seed, "minibatch", iteration).choice(len(shots), size, replace=False)
        else:
            shuffled = rng(self.order_seed, "order").permutation(len(shots))
            numbers = shuffled[np.arange(iteration * size, (iteration + 1) * size) % len(shots)]
        return [shots[number] for number in numbers]


class TokenAttempt(Spec):
    """One question: what is to be seen in every picture, and on which class's prompts the token is trained."""

    target: AnyTarget
    label: str | None = Field(
        None, description="Train on the prompts of this class alone; null: on those of every class but the target."
    )

    @property
    def aim(self) -> str | None:
        """The class to be seen; None where the target names none."""
        return getattr(self.target, "target", None)

    @property
    def word(self) -> str | None:
        """What that class is called: of several names between commas, the first."""
        return self.aim and self.aim.partition(",")[0]

    def trained_on(self, grid: PromptGrid) -> list[LabelledPrompt]:
        """Return its train prompts."""
        return [prompt for prompt in self.tried_on(grid) if self.label in (None, prompt.label)]

    def tried_on(self, grid: PromptGrid) -> list[LabelledPrompt]:
        """Return the prompts that do not ask for the target itself."""
        return [prompt for prompt in grid.prompts if prompt.label != self.aim]

    def check(self, spec: TokenSearchSpec, labels: Sequence[str]) -> None:
        """Refuse a class or a target that is not in the label set, one that is the other, and one without prompts."""
        for label in {prompt.label: None for grid in (spec.train, spec.held_out) for prompt in grid.prompts}:
            position(label, labels)
        if self.label is not None:
            self.target.check(self.label, labels)
        for what, prompts in (("train", self.trained_on(spec.train)), ("held-out", self.tried_on(spec.held_out))):
            if not prompts:
                about = (
                    f"of the class {self.label!r}"
                    if self.label and what == "train"
                    else f"of a class other than {self.aim!r}"
                )
                raise ValueError(f"token search: expected a {what} prompt {about}, found none")
            for prompt in prompts:
                self.target.check(prompt.label, labels)
        spec.chosen(shots_of(self.trained_on(spec.train), spec.train.seeds), 0)  # refuses a minibatch that is too large


class Check(NamedTuple):
    """What the pictures of all train prompts and seeds show, with a vector behind the prompts."""

    iteration: int
    """Sign steps before it."""
    vector: Token
    objective: float
    """The mean loss, which a search maximises; NaN where one is not finite."""
    share: float
    """The share of pictures in which every member and the judge see the target, 0 to 1."""


@dataclass
class TokenFound:
    """What one search has found, and what that took."""

    attempt: TokenAttempt
    start: Token
    checks: list[Check] = field(default_factory=list)
    """The start's first; none before any picture."""
    curve: list[float] = field(default_factory=list)
    """The mean loss of each minibatch, before its step; NaN ends the search."""
    kept: Check | None = None
    """The best check, or the last."""
    gradient_pictures: int = 0
    """Pictures drawn with a gradient; what one costs is `Gradient.cost`."""
    checked_pictures: int = 0
    """Pictures drawn without."""

    @property
    def vector(self) -> Token:
        """The vector found, ready to stand behind a prompt."""
        return self.start if self.kept is None else self.kept.vector

    @property
    def evaluations(self) -> int:
        """Pictures drawn."""
        return self.gradient_pictures + self.checked_pictures

    def see(self, check: Check, keep: Literal["best", "last"]) -> None:
        """Take note of a check."""
        self.checks.append(check)
        if self.kept is None or keep == "last" or check.objective > self.kept.objective:
            self.kept = check


def shots_of(prompts: Sequence[LabelledPrompt], seeds: Sequence[int]) -> list[Shot]:
    """Return every prompt on every seed."""
    return [Shot(prompt, seed) for prompt, seed in product(prompts, seeds)]


def _distinct(what: str, values: Sequence[str] | Sequence[int]) -> None:
    if twice := [value for number, value in enumerate(values) if value in values[:number]]:
        raise ValueError(f"expected distinct {what}, found {twice[0]!r} twice")


def _new(what: str, common: Sequence[str] | Sequence[int]) -> None:
    if common:
        raise ValueError(f"held_out: expected {what} that are not in train, found {common[0]!r} in both")
