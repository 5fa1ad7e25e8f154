"""Where Loraloop keeps its files, by the conventions of the operating system (platformdirs)."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import platformdirs

from loraloop.tool_schemas.errors import BaseModelError

_APP = "loraloop"


def cache_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """What can be made again (bases, the C library): `folder`, else `$LORALOOP_CACHE`, else the user's cache folder."""
    own = folder or os.environ.get("LORALOOP_CACHE")
    return Path(own) if own else platformdirs.user_cache_path(_APP)


def make_writable(folder: Path) -> Path:
    """Makes a folder of the cache if it is missing, and checks that files can be written there.

    Raises:
        BaseModelError: It cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise BaseModelError(
            f"cannot write to the cache folder {folder} ({error.strerror or error}): "
            "set LORALOOP_CACHE to a folder that can be written"
        ) from error


def data_folder() -> Path:
    """What belongs to the user (skills, sessions); `$XDG_DATA_HOME/loraloop` on Linux."""
    return platformdirs.user_data_path(_APP)


def skills_folder() -> Path:
    """The user's own skills: `$LORALOOP_SKILLS`, else `skills` in the data folder."""
    own = os.environ.get("LORALOOP_SKILLS")
    return Path(own) if own else data_folder() / "skills"
