"""Which Ray a command works in, which nodes that one has or may get, and where results outlive it. Starts nothing."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

import yaml
from pydantic import BaseModel, ValidationError

from pipelines.config import UserError, one_line

ADDRESS = "RAY_ADDRESS"
"""Ray's own variable; `ray job submit` sets it for what it runs."""
NODES = "SEEDQUAKE_NODES"
"""A file like cluster.yaml: what the cluster may grow to, which Ray tells nobody."""
OUTPUT = "SEEDQUAKE_OUTPUT"
"""Where results go unless `run.output` says."""

Resources: TypeAlias = Mapping[str, float]
ACCELERATOR = "accelerator_type:"
"""How the resource of a node starts by which Ray names its accelerator."""


class NodeType(BaseModel):
    """What is known of one of `available_node_types`."""

    resources: dict[str, float] = {}
    """Empty: known only once one has joined."""
    min_workers: int = 0
    max_workers: int = 0


class Launched(BaseModel):
    """What is known of a file like cluster.yaml."""

    head_node_type: str
    available_node_types: dict[str, NodeType]


def address(setting: str) -> str:
    """Return `run.address`, or the address in Ray's own variable where that setting is left at `local`."""
    return os.environ.get(ADDRESS) or setting if setting == "local" else setting


def described(setting: str) -> str:
    """Return where a command runs, in words."""
    where = address(setting)
    if where == "local":
        return "one of its own, on this machine"
    return f"joins {where}" + (f", which {ADDRESS} names" if setting == "local" else "")


def output() -> str:
    """Return the folder of results where none is set."""
    return os.environ.get(OUTPUT) or "runs"


def refuse_fleeting(folder: str) -> None:
    """Raise `UserError` where results would be lost: in the copy of a working folder that Ray made for a job."""
    if "working_dir_files" in Path(folder).absolute().parts:
        raise UserError(
            f"run.output: expected a folder that outlives the job, found {folder!r} in the copy of the working folder, "
            f"which Ray deletes; set run.output or {OUTPUT} to a folder that all nodes share"
        )


def expected() -> int:
    """Return how many nodes the cluster always has, soon after its start: those are waited for."""
    return 1 + sum(kind.min_workers for kind in found.available_node_types.values()) if (found := launched()) else 1


def nodes(present: Iterable[Resources]) -> list[Resources]:
    """Return the resources of all nodes that can be there at once, given those of the present ones.

    That is the present ones, unless the cluster grows: then its head, and all workers that it may have.
    """
    workers: list[Resources] = []
    if found := launched():
        for name, kind in found.available_node_types.items():
            workers += [kind.resources] * kind.max_workers if name != found.head_node_type else []
    return [node for node in present if not workers or "node:__internal_head__" in node] + workers


def accelerator(node: Resources) -> str:
    """Return Ray's name of a node's accelerator; empty where it has none."""
    return next((name.removeprefix(ACCELERATOR) for name in node if name.startswith(ACCELERATOR)), "")


def launched() -> Launched | None:
    """Return what the file that started the cluster says, None where there is none; raises `UserError`."""
    path = os.environ.get(NODES)
    return read(Path(path).expanduser()) if path else None


def read(path: Path) -> Launched:
    """Return what a file like cluster.yaml says of the nodes; raises `UserError`."""
    try:
        return Launched.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError, ValidationError) as error:
        raise UserError(f"{NODES}: expected a file like cluster.yaml in {path}, found {one_line(error)}") from None
