"""Answers -> one self-contained HTML page, the figures and the tables."""

import base64
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import pandas as pd
import yaml

from pipelines.masking import masked, masked_tree
from stages.metrics import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pipelines.sweep import Swept

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Picture:
    """A figure with the sentence that says what it shows."""

    name: str
    caption: str
    figure: "Figure"
    wide: bool = False
    """Whether it takes the whole width of the page."""


@dataclass(frozen=True)
class Page:
    """What a report holds."""

    title: str
    question: str
    verdict: str
    sentences: tuple[str, ...]
    pictures: tuple[Picture, ...]
    """Two a row, but for wide ones; the first two stand on the first screen."""
    tables: dict[str, pd.DataFrame]
    shown: pd.DataFrame
    """The table as people read it."""
    facts: dict[str, str]
    spec: dict[str, object]
    heading: str = "Every perturbation"
    """Above that table."""
    others: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """Further tables as people read them, by their headings."""
    printed: pd.DataFrame | None = None
    """The table as the terminal shows it; None: the same."""
    curves: Mapping[str, Mapping[float, Estimate]] = field(default_factory=dict)
    """What is tracked over a strength or a threshold."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """What is tracked besides."""


def write(page: Page, folder: Path) -> Path:
    """Write the report, its figures (PNG and SVG) and its tables (Parquet and CSV); returns the page's path."""
    from pipelines.figures import rendered

    for name in ("figures", "tables"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    images = {}
    for picture in page.pictures:
        images[picture.name] = rendered(picture.figure, "png")
        (folder / "figures" / f"{picture.name}.png").write_bytes(images[picture.name])
        (folder / "figures" / f"{picture.name}.svg").write_bytes(rendered(picture.figure, "svg"))
    for name, table in page.tables.items():
        table.to_parquet(folder / "tables" / f"{name}.parquet", index=False)
        table.to_csv(folder / "tables" / f"{name}.csv", index=False)
    target = folder / "report.html"
    target.write_text(html(page, images), encoding="utf-8")
    return target


def direction(change: Estimate, up: str, down: str) -> str:
    """Return `up` or `down`, more and less in either order, where the whole interval of a change says so."""
    return up if change.low > 0 else down if change.high < 0 else "not clearly more or less"


def clear(change: Estimate) -> bool:
    """Return whether the whole interval of a change lies on one side of 0."""
    return change.low > 0 or change.high < 0


def interval(estimate: Estimate, sign: str = "", digits: int = 2) -> str:
    """Return value and interval as people read them; a dash where there is no value, ? where there is no end."""
    if not estimate.n:
        return "-"
    ends = (estimate.value, estimate.low, estimate.high)
    value, low, high = ("?" if math.isnan(x) else f"{x:{sign}.{digits}f}" for x in ends)
    return f"{value} [{low}, {high}]"


def made(store: str, swept: "Swept | None") -> dict[str, str]:
    """Return where the samples are, and when and how fast they were made."""
    found = {"Samples": masked(store), "Written": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}
    if swept and swept.drawn:
        found["This run"] = f"{swept.drawn} images drawn, {swept.reused} reused, {swept.rate:.1f} images/s"
    return found


def html(page: Page, images: dict[str, bytes]) -> str:
    """Return the page; everything in it is escaped, every picture is inside it."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    embedded = {name: base64.b64encode(data).decode() for name, data in images.items()}
    text = yaml.safe_dump(masked_tree(page.spec), sort_keys=False, allow_unicode=True)
    return environment.get_template("report.html").render(page=page, images=embedded, spec=text)
