"""What the packages never do: hand a text to a shell, run code that came as data, or listen beyond this machine."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T", bound=ast.AST)
ROOT = Path(__file__).parent.parent
FILES = sorted(p for package in ("stages", "pipelines", "tuning") for p in (ROOT / package).rglob("*.py"))
SHELLS = {
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "asyncio.create_subprocess_shell",
}
CODE = {
    "eval",
    "exec",
    "compile",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "pandas.read_pickle",
    "pd.read_pickle",
}
PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in FILES}


def found(kind: type[T]) -> Iterator[tuple[str, T]]:
    """Every piece of code of a kind, with where and what it is."""
    for path, tree in TREES.items():
        yield from ((f"{path}: {ast.unparse(node)}", node) for node in ast.walk(tree) if isinstance(node, kind))


def test_no_text_reaches_a_shell():
    for where, call in found(ast.Call):
        assert ast.unparse(call.func) not in SHELLS, where
        assert all(word.arg != "shell" for word in call.keywords), where


def test_no_data_is_run_as_code():
    for where, call in found(ast.Call):
        assert ast.unparse(call.func) not in CODE, where
        allowed = [word.arg for word in call.keywords if ast.unparse(word.value) != "False"]
        assert not {"trust_remote_code", "allow_pickle"} & set(allowed), where


def test_nothing_is_unpickled():
    for where, node in found(ast.Import):
        assert not {alias.name.partition(".")[0] for alias in node.names} & PICKLES, where
    for where, line in found(ast.ImportFrom):
        harmless = all(alias.name.endswith("Error") for alias in line.names)
        assert harmless or (line.module or "").partition(".")[0] not in PICKLES, where


def test_nothing_listens_on_every_address_by_itself():
    for where, constant in found(ast.Constant):
        assert constant.value not in {"0.0.0.0", "::"}, where  # noqa: S104
