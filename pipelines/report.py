"""Answers -> one self-contained HTML page, the figures and the tables."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import pandas as pd
import yaml

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Picture:
    """A figure with the sentence that says what it shows."""

    name: str
    caption: str
    figure: "Figure"


@dataclass(frozen=True)
class Page:
    """What a report holds."""

    title: str
    question: str
    verdict: str
    sentences: tuple[str, ...]
    pictures: tuple[Picture, ...]
    """Two a row; the first two stand on the first screen."""
    tables: dict[str, pd.DataFrame]
    shown: pd.DataFrame
    """The table as people read it."""
    facts: dict[str, str]
    spec: dict[str, object]


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


def html(page: Page, images: dict[str, bytes]) -> str:
    """Return the page; everything in it is escaped, every picture is inside it."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    embedded = {name: base64.b64encode(data).decode() for name, data in images.items()}
    text = yaml.safe_dump(page.spec, sort_keys=False, allow_unicode=True)
    return environment.get_template("report.html").render(page=page, images=embedded, spec=text)
