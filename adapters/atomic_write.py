"""Files that appear whole or not at all, also where several processes or threads write them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_OLD = 3600  # seconds


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields what to write to; it takes the file's name at the end, and disappears on an error."""
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        yield part
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes a text, on the disk before the name is taken: also a power loss leaves it whole, or as it was."""
    with atomic_path(path) as part, part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def stats(folder: Path, pattern: str) -> list[tuple[os.stat_result, Path]]:
    """The files of a folder with what the system says of each; without those that another process removes meanwhile."""
    found = []
    for path in folder.glob(pattern):
        with suppress(FileNotFoundError):
            found.append((path.stat(), path))
    return found


def remove_parts(folder: Path, pattern: str) -> None:
    """Removes what killed processes left of files that fit a pattern; a younger one may be another process's."""
    for stat, part in stats(folder, pattern):
        if stat.st_mtime < time.time() - _OLD:
            with suppress(OSError):  # somebody else's file stays
                part.unlink(missing_ok=True)
