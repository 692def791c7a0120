"""Which versions compute: of the packages, and of this source tree."""

import importlib.metadata
import subprocess
from pathlib import Path

PACKAGES = ("seedquake", "torch", "diffusers", "transformers", "timm", "open_clip_torch", "ray", "numpy", "mlflow")


def versions() -> dict[str, str]:
    """Return the versions of what computed, and the git revision where there is one."""
    found = {}
    for package in PACKAGES:
        try:
            found[f"version.{package}"] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    if revision := git_revision():
        found["git.revision"] = revision
    return found


def git_revision() -> str | None:
    """Return the commit of this source tree, with + where it was changed; None outside of one."""
    here = Path(__file__).parent
    try:
        asked = [
            subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, timeout=10, check=True).stdout  # noqa: S603, S607
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return asked[0].strip() + ("+" if asked[1].strip() else "")
