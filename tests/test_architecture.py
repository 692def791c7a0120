"""The rules of the house: imports point one way, heavy libraries stay behind their doors."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("stages", "pipelines", "tuning")
FILES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))
ONLY_IN = {
    "mlflow": ("pipelines/tracking.py",),
    "diffusers": ("stages/models/", "tuning/training/"),
    "transformers": ("stages/models/", "tuning/training/"),
    "timm": ("stages/models/", "tuning/training/"),
    "open_clip": ("stages/models/", "tuning/training/"),
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=named)
def test_imports_point_one_way(path: Path):
    package = named(path).partition("/")[0]
    allowed = PACKAGES[: PACKAGES.index(package) + 1]
    ours = {name.partition(".")[0] for name in imports(path)} & set(PACKAGES)
    assert ours <= set(allowed), f"{named(path)} imports {sorted(ours - set(allowed))}"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_heavy_libraries_stay_behind_their_doors(path: Path):
    for library, homes in ONLY_IN.items():
        if any(name.partition(".")[0] == library for name in imports(path)):
            assert named(path).startswith(homes), f"{named(path)} imports {library}"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_files_and_functions_are_small(path: Path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            code = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (code[-1].end_lineno or 0) - code[0].lineno + 1 if code else 0
            assert lines <= 40, f"{named(path)}: {node.name} has {lines} lines"


def test_trials_run_no_data_sets():
    """They hold the CPUs that its actors would wait for: a study asks its questions once they are done."""
    doors = {"pipelines.ask", "pipelines.sweep", "pipelines.flow", "pipelines.pipeline"}
    found = [named(path) for path in FILES if named(path).startswith("tuning/") and doors & set(imports(path))]
    assert found == ["tuning/study.py"]


def test_specs_load_without_heavy_libraries():
    """Commands answer fast, and a driver without PyTorch's libraries can still plan."""
    heavy = "{'torch', 'diffusers', 'ray', 'mlflow', 'scipy.stats', 'skimage'}"
    code = f"import sys, pipelines.robustness, pipelines.plan; print(*(set(sys.modules) & {heavy}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_no_unsafe_loading():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords), path
            assert not (isinstance(node, ast.Import) and any(a.name == "pickle" for a in node.names)), path


def test_every_test_folder_mirrors_the_code():
    for folder in {p.parent for p in (ROOT / "tests").rglob("test_*.py")}:
        assert (folder / "__init__.py").is_file(), folder
