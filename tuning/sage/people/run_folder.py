"""What the folder of a run holds about failures; whatever is not as a search leaves it is one sentence."""

from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError

from pipelines.config import UserError, one_line, read_tree
from tuning.sage.failures import AFTER, FILE, Saved, load, sha256

SPEC, ATTEMPTS = "spec.yaml", Path("tables") / "attempts.parquet"


def failures_of(run: Path) -> list[Saved]:
    """Return the failures of a run, by name. Raises `UserError` where there are none, or one that is not whole."""
    files = sorted((run / "failures").glob(f"*/{FILE}"))
    if not files:
        raise UserError(
            f"run {run}: expected failures/NAME/{FILE}, found none; name a run whose search found a failure"
        )
    return [failure_in(file.parent) for file in files]


def failure_in(folder: Path) -> Saved:
    """Return the failure in a folder. Raises `UserError` for one that is not as it was saved."""
    try:
        saved = load(folder)
    except (ValidationError, UnicodeDecodeError, KeyError, OSError, SyntaxError, SafetensorError) as error:
        found = f"{type(error).__name__}: {one_line(error)}"
        raise UserError(f"failure {folder}: expected it as it was saved, found {found}; search again") from None
    except ValueError as error:
        raise UserError(str(error)) from None
    if (found := sha256(saved.after)) != (expected := saved.failure.sha256):
        raise UserError(
            f"failure {folder}: expected {AFTER} to be picture {expected[:12]}, found {found[:12]}; search again"
        )
    return saved


def classes_of(run: Path) -> tuple[str, ...]:
    """Return the label set of a run: the classes that competed. Raises `UserError` where its spec names none."""
    file = run / SPEC
    surrogate = read_tree(file).get("surrogate") if file.is_file() else None
    labels = surrogate.get("labels") if isinstance(surrogate, dict) else None
    if not isinstance(labels, list) or not labels:
        raise UserError(
            f"run {run}: expected {SPEC} with surrogate.labels, found none; name the folder of a search's run"
        )
    return tuple(map(str, labels))


def attempted(run: Path) -> int | None:
    """Return the searches in its table but those whose plain seed fails by itself; None where there is no table."""
    import pandas as pd

    if not (run / ATTEMPTS).is_file():
        return None
    table = pd.read_parquet(run / ATTEMPTS, columns=["way", "natural"])
    return int(((table["way"] == "search") & ~table["natural"].astype(bool)).sum())
