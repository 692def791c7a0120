"""What the pages about failures have in common: templates that escape everything, and pictures as PNG."""

import io
from functools import cache
from pathlib import Path

import jinja2

from tuning.sage.failures import Picture

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: object) -> str:
    """Return a page; all values are escaped."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(TEMPLATES)
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)


def png(picture: Picture, most_px: int | None = None) -> bytes:
    """Return a picture as PNG and nothing beside its pixels, its longer side made at most so long."""
    from PIL import Image

    image, buffer = Image.fromarray(picture), io.BytesIO()
    if most_px is not None:
        image.thumbnail((most_px, most_px))
    image.save(buffer, "PNG")
    return buffer.getvalue()
