"""A scratch folder on a real disk: empty at first, looked at while a process runs in it, removed afterwards."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable

LOOK_SECONDS = 0.05
MOST_FILES = 10_000


class Scratch:
    """A folder of bounded size. Files are counted by the blocks that they take, deleted ones while they are open.

    Args:
        mb: MiB that all files together may take.

    Attributes:
        path: The folder; only this user can enter it.
        overfull: Whether the process was killed for more, or for more than `MOST_FILES` files.
    """

    def __init__(self, mb: int) -> None:
        self.path = tempfile.mkdtemp(prefix="loraloop-scratch-")
        self.overfull = False
        self._bytes = mb << 20
        self._closed = threading.Event()
        self._watch: threading.Thread | None = None

    def watch(self, pid: int, kill: Callable[[], None]) -> None:
        """Looks at the folder until it is closed, and calls `kill` once if a process fills it."""

        def look() -> None:
            while not self._closed.wait(LOOK_SECONDS):
                size, files = self._used(pid)
                if size > self._bytes or files > MOST_FILES:
                    self.overfull = True
                    kill()
                    return

        self._watch = threading.Thread(target=look, daemon=True, name="loraloop-scratch")
        self._watch.start()

    def close(self) -> None:
        """Removes the folder."""
        self._closed.set()
        if self._watch is not None:
            self._watch.join()
        shutil.rmtree(self.path, onerror=_made_ours)

    def _used(self, pid: int) -> tuple[int, int]:
        size = files = 0
        folders = [self.path]
        while folders:
            try:
                with os.scandir(folders.pop()) as entries:
                    for entry in entries:
                        status = entry.stat(follow_symlinks=False)
                        size, files = size + status.st_blocks * 512, files + 1
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
            except OSError:
                continue  # gone meanwhile
        return size + _deleted(pid), files


def _deleted(pid: int) -> int:
    """Bytes of deleted files that the process has open; 0 where its descriptors cannot be seen."""
    size = 0
    folder = f"/proc/{pid}/fd"
    try:
        for name in os.listdir(folder):
            status = os.stat(f"{folder}/{name}")
            if status.st_nlink == 0:
                size += status.st_blocks * 512
    except OSError:
        pass
    return size


def _made_ours(function: Callable[[str], object], path: str, _: object) -> None:
    """What the process took its own rights from: they are given back, and it is tried once more."""
    try:
        os.chmod(os.path.dirname(path), 0o700)
        if os.path.isdir(path) and not os.path.islink(path):
            os.chmod(path, 0o700)
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)
    except OSError:
        pass
