"""The commands that the README and the docs show are run as they stand."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.e2e.commands import seedquake
from tuning import cli

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(page: Path) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def test_every_target_that_is_named_exists():
    named = {word for page in PAGES for word in re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(), re.MULTILINE)}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert named
    assert named <= targets


def test_every_link_leads_somewhere():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"


QUICK = [
    c
    for page in PAGES
    for c in commands(page)
    if c.startswith(("seedquake plan", "seedquake zoo list")) or "--plan" in c
]


@pytest.mark.parametrize("command", QUICK)
def test_quick_commands_run(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    cli.main()


@pytest.mark.e2e
@pytest.mark.usefixtures("ray_cluster")
def test_the_sweep_of_the_readme_runs(tmp_path: Path):
    (command,) = [c for c in commands(ROOT / "README.md") if c.startswith("seedquake robustness")]
    out, _ = seedquake(*shlex.split(command)[1:], cwd=tmp_path)
    assert (tmp_path / "runs" / "store" / "samples").is_dir()
    assert "report" in out
    indexing = [c for c in commands(ROOT / "docs" / "reference-sets.md") if c.startswith("seedquake index")]
    assert len(indexing) > 2
    for words in map(shlex.split, indexing):  # an index of the sweep's own samples among them
        assert seedquake(*words[1:], cwd=tmp_path)[0]


def test_every_command_block_is_of_a_kind_that_is_checked():
    known = ("make ", "seedquake plan", "seedquake robustness", "seedquake index", "seedquake zoo list", ". .venv/")
    for page in PAGES:
        assert all(c.startswith(known) or c.endswith("--plan") for c in commands(page)), page.name
