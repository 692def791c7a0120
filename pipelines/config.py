"""YAML file plus `a.b=c` overrides -> a validated spec; every mistake is one sentence with its place."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TypeAlias, TypeVar

import yaml
from pydantic import BaseModel, JsonValue, ValidationError
from pydantic_core import ErrorDetails

from stages.base import Spec

T = TypeVar("T", bound=Spec)
Tree: TypeAlias = dict[str, JsonValue]
PACKAGED = Path(__file__).parent / "configs"
MAX_DEPTH = 32


class UserError(ValueError):
    """Something that the user must fix: printed as it stands, exit status 2."""


def load(kind: type[T], config: str, overrides: Iterable[str] = (), packaged: Path = PACKAGED) -> T:
    """Return the spec in the file `config`, with `a.b=c` overrides applied.

    `config` is a path, or the name of a packaged config such as `robustness_demo`. Raises `UserError`.
    """
    path = locate(config, packaged)
    tree = read_tree(path)
    for override in overrides:
        assign(tree, override)
    return validate(kind, tree, where=config)


def locate(config: str, packaged: Path = PACKAGED) -> Path:
    """Return the path of a config: the file itself, or the one of that name in the folder `packaged`."""
    shipped = packaged / Path(config).with_suffix(".yaml").name
    path = Path(config)
    try:
        if path.is_file():
            return path
        if len(path.parts) <= 2 and shipped.is_file():
            return shipped
    except (OSError, ValueError) as error:
        raise UserError(
            f"config {config!r}: expected the path of a YAML file, but it cannot be read: {error}"
        ) from None
    names = sorted(p.stem for p in packaged.glob("*.yaml"))
    raise UserError(f"config {config!r}: expected a YAML file, found none; packaged configs are {', '.join(names)}")


def read_tree(path: Path) -> Tree:
    """Return the mapping that a YAML file holds, as plain JSON values."""
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, OSError, RecursionError) as error:
        raise UserError(f"config {path}: expected YAML, found {one_line(error)}") from None
    if not isinstance(value, dict):
        raise UserError(f"config {path}: expected a mapping of settings, found {type(value).__name__}")
    return plain_mapping(value, str(path))


def plain_mapping(value: dict[object, object], where: str, depth: int = 0) -> Tree:
    """Return `value` with only JSON types in it, or say which key is not one."""
    if depth > MAX_DEPTH:
        raise UserError(f"{where}: expected at most {MAX_DEPTH} levels of settings, found more")
    if wrong := [key for key in value if not isinstance(key, str)]:
        raise UserError(f"{where}: expected names of settings to be text, found {wrong[0]!r}; put it in quotes")
    return {str(key): plain(item, f"{where}, {key}", depth + 1) for key, item in value.items()}


def plain(value: object, where: str, depth: int) -> JsonValue:
    """Return one YAML value as JSON."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if depth > MAX_DEPTH:
        raise UserError(f"{where}: expected at most {MAX_DEPTH} levels of settings, found more")
    if isinstance(value, dict):
        return plain_mapping(value, where, depth)
    if isinstance(value, list):
        return [plain(item, where, depth + 1) for item in value]
    raise UserError(f"{where}: expected text, a number, a list or a mapping, found a {type(value).__name__} ({value})")


def assign(tree: Tree, override: str) -> None:
    """Apply one `a.b=c` in place; the value is read as YAML, list entries are named by their position."""
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise UserError(f"override {override!r}: expected name=value, such as seeds.count=20")
    try:
        value = plain(yaml.safe_load(text), f"override {name}", 0)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"override {override!r}: expected a YAML value, found {one_line(error)}") from None
    *parents, last = name.split(".")
    place: JsonValue = tree
    for part in parents:
        place = descend(place, part, override)
    store(place, last, value, override)


def descend(place: JsonValue, part: str, override: str) -> JsonValue:
    """Return the child `part` of `place`, making an empty mapping where there is none."""
    if isinstance(place, dict):
        if not isinstance(place.get(part), dict | list):
            place[part] = {}
        return place[part]
    if isinstance(place, list) and part.isdecimal() and int(part[:9]) < len(place):
        return place[int(part)]
    raise UserError(f"override {override!r}: {part!r} is not a setting that holds others")


def store(place: JsonValue, last: str, value: JsonValue, override: str) -> None:
    """Put `value` at `last` of a mapping or list."""
    if isinstance(place, dict):
        place[last] = value
    elif isinstance(place, list) and last.isdecimal() and int(last[:9]) < len(place):
        place[int(last)] = value
    else:
        raise UserError(f"override {override!r}: {last!r} is not a setting here")


def validate(kind: type[T], tree: Tree, where: str) -> T:
    """Return the spec, or raise every mistake as one sentence a line."""
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise UserError("\n".join(dict.fromkeys(sentence(kind, where, detail) for detail in details))) from None
    except RecursionError:
        raise UserError(f"{where}: expected settings of a few levels, found far more") from None


def sentence(kind: type[BaseModel], where: str, detail: ErrorDetails) -> str:
    """Return where, what was expected, what was found and the remedy, for one pydantic error."""
    place = ".".join(map(str, detail["loc"])) or "the whole"
    if detail["type"] == "extra_forbidden":
        near = get_close_matches(str(detail["loc"][-1]), siblings(kind, detail["loc"][:-1]), n=1)
        return f"{where}: {place} is not a setting" + (f"; did you mean {near[0]}?" if near else "")
    if detail["type"] == "missing":
        return f"{where}: {place} is required, found nothing; add it"
    found = repr(detail["input"])
    short = found if len(found) < 80 else found[:77] + "..."
    return f"{where}: {place}: {one_line(detail['msg'].removeprefix('Value error, '))}; found {short}"


def siblings(kind: type[BaseModel], place: Sequence[int | str]) -> list[str]:
    """Return the names of the settings beside an unknown one, for "did you mean"."""
    models = [kind]
    for part in place:
        annotations = [model.model_fields[part].annotation for model in models if part in model.model_fields]
        models = [m for a in annotations for m in models_in(a)] or models
    return sorted({name for model in models for name in model.model_fields})


def models_in(annotation: object) -> list[type[BaseModel]]:
    """Return the pydantic models that an annotation mentions."""
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    parts: tuple[object, ...] | list[object] = getattr(annotation, "__args__", ())
    return [model for part in parts for model in models_in(part)]


def one_line(error: object, limit: int = 200) -> str:
    """Return a message on one line, without the position marks of a parser; the kind of an error that says nothing."""
    return " ".join(str(error).split())[:limit] or type(error).__name__
