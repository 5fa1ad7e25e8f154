"""The files of a user's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

from loraloop.tool_schemas.errors import InputError, file_errors


def files_of(place: str | os.PathLike[str]) -> Iterator[Path]:
    """The files of a folder, then those of its folders, each sorted by name; hidden ones are left out.

    A file gives itself, and what is not there nothing.

    Raises:
        InputError: One of the folders cannot be listed.
    """
    if os.path.isfile(place):
        yield Path(place)
    for parent, folders, names in os.walk(place, onerror=_refuse) if os.path.isdir(place) else ():
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))


def writable_folder(folder: Path, trouble: str, advice: str) -> None:
    """Makes a folder if it is missing, and checks that files can be written there.

    Args:
        folder: The folder.
        trouble: What cannot be done without it; the system's reason follows.
        advice: What follows the reason.

    Raises:
        InputError: It cannot be made or written.
    """
    with file_errors(trouble, advice):
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()


def _refuse(error: OSError) -> None:
    raise InputError(
        f"the folder {error.filename} cannot be listed ({error.strerror}): let it be read, or move it away"
    ) from error
