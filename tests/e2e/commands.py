"""Runs `seedquake` on a sweep small enough for a test."""

import contextlib
import io
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from stages.models import zoo
from tuning import cli

SEEDQUAKE = str(Path(sys.executable).parent / "seedquake")
SMALL = (
    "prompts.limit=4",
    "prompts.values.colour=[red]",
    "seeds.count=2",
    "perturbations=[{kind: uniform_mean_shift, shift: [-0.4, 0.4]}]",
    "sampler={scheduler: ddim, steps: 2, guidance: 4.0}",
    "judge_control.images=24",
    "run.batch_size=8",
    "run.generate.actors=1",
)
ENVIRONMENT = {**os.environ, "RAY_AUTH_MODE": "disabled", "HF_HUB_OFFLINE": "1"}


def start(*words: str, cwd: Path) -> subprocess.Popen[str]:
    """Start the command in a session of its own, so that a test can kill it with all its processes."""
    return subprocess.Popen(
        [SEEDQUAKE, *words],
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def seedquake(*words: str, cwd: Path, status: int = 0) -> tuple[str, str]:
    """Run the command to its end and return what it printed, output and errors.

    It runs in this process, which has the libraries and Ray already: all but the start is as a user's.
    """
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), as_to_a_user():
        sys.argv = [SEEDQUAKE, *words]
        try:
            cli.main()
            found = 0
        except SystemExit as left:
            found = left.code or 0
        finally:
            sys.argv = argv
    assert found == status, f"status {found}\n{out.getvalue()}\n{err.getvalue()}"
    return out.getvalue(), err.getvalue()


@contextlib.contextmanager
def as_to_a_user() -> Iterator[None]:
    """Ignore what Python tells no user of a command: libraries that use what other libraries will change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def process(*words: str, cwd: Path, status: int = 0) -> tuple[str, str]:
    """Run the command as a user does, in a process of its own that starts Ray."""
    out, err = (started := start(*words, cwd=cwd)).communicate(timeout=280)
    assert started.returncode == status, f"status {started.returncode}\n{out}\n{err}"
    return out, err


def robustness(output: Path, *overrides: str, status: int = 0) -> tuple[str, str]:
    """Run the small sweep into a folder."""
    return seedquake(*sweep(output), *overrides, cwd=output.parent, status=status)


def sweep(output: Path) -> tuple[str, ...]:
    """Return the words that run the small sweep into a folder."""
    return "robustness", "robustness_demo", *SMALL, f"run.output={output}"


def deaf_to(word: str, folder: Path) -> str:
    """Save a text-to-image model for which one word is not a number, and return its place."""
    shutil.copytree(zoo.path("text-to-image"), folder)
    tokens = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    (token,) = tokens(word, add_special_tokens=False).input_ids
    file = folder / "text_encoder" / "model.safetensors"
    weights = load_file(file)
    (name,) = (name for name in weights if name.endswith("token_embedding.weight"))
    weights[name][token] = float("nan")
    save_file(weights, file, {"format": "pt"})
    return str(folder)


def reported_again(folder: Path) -> tuple[str, str]:
    """Remove a run's page and make it again; return both, up to what says how it was made."""
    page = folder / "report.html"
    before = page.read_text()
    page.unlink()
    seedquake("report", str(folder), cwd=folder.parent.parent)
    first, second = (text.split("How it was made")[0] for text in (before, page.read_text()))
    return first, second
