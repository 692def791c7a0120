"""Where prompts come from: a list, a file, a template over the classes of a named list, their names, or nowhere."""

import csv
from abc import abstractmethod
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeAlias

from pydantic import Field
from typing_extensions import override

from stages.base import Spec

NO_LABEL = -1
CLASS_LISTS = Path(__file__).parent / "class_lists"


class Prompt(NamedTuple):
    """A prompt and the class that it names."""

    text: str
    label: int
    """Index of the class in the classifier's output, -1 where the prompt names none."""
    name: str
    """Name of the class, or the prompt itself."""
    note: str = ""
    """Why this class is ambiguous or wrongly labelled, empty if it is not."""


UNCONDITIONAL = Prompt("", NO_LABEL, "no class")


class Prompts(Spec):
    """A source of prompts."""

    @abstractmethod
    def load(self) -> tuple[Prompt, ...]:
        """Return the prompts, in order; raises `ValueError` or `OSError` in one sentence."""


class ListedPrompts(Prompts):
    """Prompts written in the config."""

    kind: Literal["list"] = "list"
    prompts: tuple[str, ...] = Field(min_length=1, description="The prompts.")
    labels: tuple[int, ...] | None = Field(None, description="Class index of each prompt, -1 for none.")

    @override
    def load(self) -> tuple[Prompt, ...]:
        labels = self.labels if self.labels is not None else (NO_LABEL,) * len(self.prompts)
        if len(labels) != len(self.prompts):
            raise ValueError(f"prompts.labels: expected {len(self.prompts)} labels, found {len(labels)}")
        return checked(tuple(Prompt(p, n, p) for p, n in zip(self.prompts, labels, strict=True)))


class PromptFile(Prompts):
    """A text file with one prompt a line, or a CSV file with the columns `prompt` and, if known, `label` and `name`."""

    kind: Literal["file"] = "file"
    path: str = Field(description="Path of a .txt or .csv file.")

    @override
    def load(self) -> tuple[Prompt, ...]:
        path = Path(self.path)
        if not path.is_file():
            raise FileNotFoundError(f"prompts.path: expected a file, found none at {self.path}")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"prompts.path: expected UTF-8 text, found other bytes in {self.path}") from None
        if path.suffix != ".csv":
            return checked(tuple(Prompt(t, NO_LABEL, t) for line in text.splitlines() if (t := line.strip())))
        return checked(tuple(self.row(number, row) for number, row in enumerate(csv.DictReader(text.splitlines()), 2)))

    def row(self, line: int, row: dict[str, str]) -> Prompt:
        """Return the prompt of one CSV row."""
        prompt, label = (row.get("prompt") or "").strip(), (row.get("label") or str(NO_LABEL)).strip()
        if not prompt or not label.removeprefix("-").isdecimal():
            raise ValueError(f"{self.path}, line {line}: expected a prompt and a whole-number label, found {row}")
        return Prompt(prompt, int(label), (row.get("name") or prompt).strip())


class PromptTemplate(Prompts):
    """A template over the classes of a named list, and over values given here.

    `{label}` is the class name; other names in braces run over `values`. "a {" becomes "an {" before a vowel where
    `article` is true.
    """

    kind: Literal["template"] = "template"
    template: str = Field("A photo of a {label}", description="Text with {label} and other names in braces.")
    classes: str = Field(
        "zoo", description="A packaged class list (zoo, imagenet100) or the path of a CSV of that form."
    )
    values: dict[str, tuple[str, ...]] = Field({}, description="Values of the other names in the template.")
    article: bool = Field(False, description="Write 'an' before a vowel.")
    limit: int | None = Field(None, ge=1, description="Use only the first classes.")

    @override
    def load(self) -> tuple[Prompt, ...]:
        prompts = [Prompt(self.template.replace("{label}", c.name), c.label, c.name, c.note) for c in self.entries()]
        for name, values in self.values.items():
            if not values:
                raise ValueError(f"prompts.values.{name}: expected at least one value, found none")
            prompts = [p._replace(text=p.text.replace(f"{{{name}}}", value)) for p in prompts for value in values]
        prompts = [p._replace(text=with_article(p.text)) if self.article else p for p in prompts]
        if left := next((p.text for p in prompts if "{" in p.text), None):
            raise ValueError(f"prompts.template: expected every name in braces under prompts.values, found {left!r}")
        return checked(tuple(prompts))

    def entries(self) -> list[Prompt]:
        """Return the classes of the list."""
        return listed(self.classes, self.limit)


class NoPrompt(Prompts):
    """One empty prompt: an unconditional model, or a class-conditional one without a class."""

    kind: Literal["none"] = "none"

    @override
    def load(self) -> tuple[Prompt, ...]:
        return (UNCONDITIONAL,)


class ClassNames(Prompts):
    """The classes of a named list as they are called, for models that take a class instead of a text."""

    kind: Literal["classes"] = "classes"
    classes: str = Field(
        "zoo", description="A packaged class list (zoo, imagenet100) or the path of a CSV of that form."
    )
    limit: int | None = Field(None, ge=1, description="Use only the first classes.")
    unconditional: bool = Field(False, description="Also draw without a class.")

    @override
    def load(self) -> tuple[Prompt, ...]:
        names = checked(tuple(c._replace(text=c.name) for c in listed(self.classes, self.limit)))
        return (UNCONDITIONAL, *names) if self.unconditional else names


AnyPrompts: TypeAlias = Annotated[
    ListedPrompts | PromptFile | PromptTemplate | NoPrompt | ClassNames, Field(discriminator="kind")
]


def listed(classes: str, limit: int | None) -> list[Prompt]:
    """Return the classes of a packaged list or a CSV file, their prompts still empty."""
    packaged = CLASS_LISTS / f"{classes}.csv"
    path = packaged if "/" not in classes and packaged.is_file() else Path(classes)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in CLASS_LISTS.glob("*.csv")))
        raise FileNotFoundError(f"prompts.classes: expected one of {known} or a CSV file, found {classes!r}")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    if rows and not {"index", "label"} <= rows[0].keys():
        raise ValueError(f"{path}: expected the columns index and label, found {list(rows[0])}")
    return [Prompt("", int(r["index"]), r["label"], r.get("note") or "") for r in rows[:limit]]


def with_article(text: str) -> str:
    """Return the text with 'a' as 'an' before a vowel."""
    words = text.split(" ")
    pairs = zip(words, [*words[1:], ""], strict=True)
    return " ".join("an" if w == "a" and after[:1].lower() in set("aeiou") else w for w, after in pairs)


def checked(prompts: tuple[Prompt, ...]) -> tuple[Prompt, ...]:
    """Return the prompts if there is at least one, none is blank and none stands twice."""
    if not prompts:
        raise ValueError("prompts: expected at least one prompt, found none")
    texts = [p.text for p in prompts]
    if blank := [number for number, text in enumerate(texts, 1) if not text.strip()]:
        raise ValueError(f"prompts: expected text in every prompt, found a blank one at position {blank[0]}")
    if twice := [text for text, times in Counter(texts).items() if times > 1]:
        raise ValueError(f"prompts: expected each prompt once, found {twice[0]!r} twice; remove one")
    return prompts
