"""A scratch folder on a real disk: empty at first, looked at while a process runs in it, removed afterwards."""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress

LOOK_SECONDS = 0.05
MOST_FILES = 10_000
DEEPEST = 100
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_log = logging.getLogger("loraloop.sandbox")


class Scratch:
    """A folder of bounded size. Files are counted by the blocks that they take, deleted ones while they are open.

    Args:
        mb: MiB that all files together may take.

    Attributes:
        path: The folder; only this user can enter it.
        overfull: Whether the process was killed: for more than that, for more than `MOST_FILES` files, or for folders
            nested more than `DEEPEST` deep.
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
                try:
                    size, files = self._used(pid)
                except OSError:  # it has taken the folder away
                    size, files = 0, MOST_FILES + 1
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
        try:
            _remove(self.path)
        except OSError as error:
            _log.warning("the scratch folder %s could not be removed: %s", self.path, error)

    def _used(self, pid: int) -> tuple[int, int]:
        """Bytes and files. Folders are entered by descriptors, one of each depth, because a path can be too long."""
        size = files = 0
        entered: list[tuple[int, list[str]]] = []  # open folders, and the folders in them that are still to be entered

        def enter(name: str, parent: int | None) -> None:
            nonlocal size, files
            inner: list[str] = []
            entered.append((_opened(name, parent), inner))
            with os.scandir(entered[-1][0]) as entries:
                for entry in entries:
                    with suppress(OSError):  # it is gone meanwhile
                        size, files = size + entry.stat(follow_symlinks=False).st_blocks * 512, files + 1
                        if entry.is_dir(follow_symlinks=False):
                            inner.append(entry.name)

        try:
            enter(self.path, None)
            while entered and files <= MOST_FILES:
                folder, inner = entered[-1]
                if not inner:
                    os.close(entered.pop()[0])
                elif len(entered) > DEEPEST:
                    files = MOST_FILES + 1
                else:
                    with suppress(OSError):  # it is gone meanwhile
                        enter(inner.pop(), folder)
        finally:
            for folder, _ in entered:
                os.close(folder)
        return size + _deleted(pid, os.fsencode(self.path), self._bytes), files


def _opened(name: str, parent: int | None) -> int:
    """A folder's descriptor, also if the process took from us the right to read it. Links are not followed."""
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except PermissionError:
        handle = os.open(name, _FOLDER | os.O_PATH, dir_fd=parent)
        try:
            os.chmod(f"/proc/self/fd/{handle}", 0o700)
        finally:
            os.close(handle)
        return os.open(name, _FOLDER, dir_fd=parent)


def _deleted(pid: int, place: bytes, most: int) -> int:
    """Bytes of deleted files that the process has open or mapped; 0 if that cannot be seen.

    Args:
        pid: The process.
        place: The folder in which mapped files count. The size of one that is not open too is not known.
        most: What such a file counts for.
    """
    size, known, folder = 0, set[int](), f"/proc/{pid}/fd"
    with suppress(OSError):
        for name in os.listdir(folder):
            with suppress(OSError):  # it is closed meanwhile
                status = os.stat(f"{folder}/{name}")
                if status.st_nlink == 0:
                    size += status.st_blocks * 512
                    known.add(status.st_ino)
    with suppress(OSError), open(f"/proc/{pid}/maps", "rb") as maps:
        lines = (line.split(maxsplit=5) for line in maps if line.endswith(b" (deleted)\n"))
        mapped = {int(line[4]) for line in lines if line[5].startswith(place)}
        size += len(mapped - known) * most
    return size


def _remove(path: str) -> None:
    """Removes a folder of any depth: each folder in it is moved to the top before its own turn comes."""
    mark, moved = secrets.token_hex(8), 0
    top = _opened(path, None)
    try:
        os.fchmod(top, 0o700)
        while names := os.listdir(top):
            for name in names:
                if _unlinked(name, top):
                    continue
                folder = _opened(name, top)
                try:
                    os.fchmod(folder, 0o700)
                    for inner in os.listdir(folder):
                        if not _unlinked(inner, folder):
                            below = _opened(inner, folder)
                            os.fchmod(below, 0o700)  # a folder has to be writable to be moved
                            os.close(below)
                            os.rename(inner, f"{mark}-{moved}", src_dir_fd=folder, dst_dir_fd=top)
                            moved += 1
                finally:
                    os.close(folder)
                os.rmdir(name, dir_fd=top)
        os.rmdir(path)
    finally:
        os.close(top)


def _unlinked(name: str, folder: int) -> bool:
    """Removes a file; False for a folder."""
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        return False
    return True
