"""The folder that a command is run in, entered by its actors and tasks too.

A process of Ray starts where Ray was started: elsewhere, where a running one was joined. Relative paths, to be written
to or of a model, are the same to it as to the command once it works in the command's folder.
"""

import os
from pathlib import Path


def enter(folder: Path) -> None:
    """Work in a folder from now on; on a machine that lacks it nothing relative could be shared, so nothing happens."""
    if os.access(folder, os.X_OK):
        os.chdir(folder)
