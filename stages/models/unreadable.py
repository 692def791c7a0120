"""What the libraries raise when weights are missing, damaged or of another model."""

from pydantic import ValidationError
from safetensors import SafetensorError

UNREADABLE = (OSError, ValueError, RuntimeError, KeyError, SafetensorError)


def first_line(error: Exception) -> str:
    """Return the message of `error` as one sentence."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        place = "".join(f"{part}: " for part in first["loc"])
        return f"{place}{first['msg']} (found {first['input']!r})"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".:")
