"""Whether a search that was stopped can be taken up again: Ray Tune's state of it, as a kill may have left it."""

import json
import pickletools
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from pyarrow.fs import FileSelector, FileSystem

from stages.storage import filesystem, read

STATE = re.compile(
    r"(experiment_state|search_gen_state|searcher-state|basic-variant-state|callback-states)-([\d_-]+)\.(json|pkl)"
)
PROPOSALS = ({"search_gen_state", "searcher-state"}, {"basic-variant-state"})
"""The files that hold who proposes points and how far that is, of Optuna and of Ray's own."""
EARLIER = "0000-00-00_00-00-00"


def restorable(place: str | Path) -> bool:
    """Return whether Ray Tune can take up the search in a folder or at a URI; removes of its state what a kill has cut.

    Ray copies its state there now and then, file by file, named by the time at which a driver began. What counts is the
    last that is whole. It gets a name before all others, so that a clock that is set back makes no older one the last.
    Without any the search begins anew, and its trials go on from their own files.
    """
    fs, folder = filesystem(str(place))
    drivers: dict[str, dict[str, str]] = defaultdict(dict)
    for file in fs.get_file_info(FileSelector(folder, allow_not_found=True)):
        if found := STATE.fullmatch(file.base_name):
            drivers[found[2]][found[1]] = file.path
    can = is_whole(fs, f"{folder}/tuner.pkl")
    last = max((driver for driver, files in drivers.items() if can and are_whole(fs, files)), default=None)
    for path in (path for driver, files in drivers.items() if driver != last for path in files.values()):
        fs.delete_file(path)
    if last and last != EARLIER:  # on object storage what is moved to its own name would be gone
        for kind, path in drivers[last].items():
            fs.move(path, f"{folder}/{kind}-{EARLIER}{path[path.rindex('.') :]}")
    return last is not None


def are_whole(fs: FileSystem, files: Mapping[str, str]) -> bool:
    """Return whether the state of one driver, paths by kind of file, lacks nothing."""
    complete = "experiment_state" in files and any(kinds <= files.keys() for kinds in PROPOSALS)
    return complete and all(is_whole(fs, path) for path in files.values())


def is_whole(fs: FileSystem, path: str) -> bool:
    """Return whether a file of Ray Tune's is there to its last byte."""
    try:
        content = read(fs, path).to_pybytes()
        if path.rpartition("/")[2].startswith("experiment_state"):
            json.loads(content)
        else:  # a pickle, whatever its name says; looked through, not loaded
            for _ in pickletools.genops(content):
                pass
    except (FileNotFoundError, ValueError):
        return False
    return True


def forget_staged(name: str) -> None:
    """Remove the state of a search that an earlier driver on this machine has not copied any more; Ray is running.

    A driver of the same Ray would read it beside the copy, and put the two together.
    """
    from ray.train.constants import _get_ray_train_session_dir

    for staged in Path(_get_ray_train_session_dir()).glob("*/*/driver_artifacts"):
        if staged.parent.name == name:
            for file in staged.iterdir():
                if STATE.fullmatch(file.name):
                    file.unlink()
