"""One runner a session: a lock on one byte of a file beside the sessions, which ends with the process that has it.

It is a POSIX record lock (`fcntl`), because of all locks only these belong to a process alone: the system drops them
when the process ends, however it ends, a child that is forked does not inherit them, and others can ask who has
one. A table keeps the threads of one process apart, which these locks do not. A file of sessions belongs on a local
disk: SQLite's write-ahead log needs memory that its processes share, and a network file system has none.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import struct
import sys
import threading
from pathlib import Path

from loraloop.tool_schemas.errors import SessionBusyError, SessionError

_FIELDS, _FORM = (  # struct flock, as the system lays it out
    (("start", "len", "pid", "type", "whence"), "qqihh")
    if sys.platform == "darwin"
    else (("type", "whence", "start", "len", "pid"), "hhqqi")
)
_guard = threading.Lock()
_files: dict[Path, int] = {}  # closing one would drop all locks that the process has on its file
_held: set[tuple[Path, int]] = set()
_owner = 0


class Lease:
    """The right to run one session; `release` gives it back, and so does the end of the process.

    Args:
        path: The file of the sessions.
        session: Its id.

    Raises:
        SessionBusyError: Another runner has it.
        SessionError: The file that holds the locks cannot be opened.
    """

    def __init__(self, path: Path, session: str) -> None:
        self._file, self._byte = _lock_file(path), _byte(session)
        with _guard:
            descriptor = _opened(self._file)
            if (self._file, self._byte) in _held:
                raise _busy(session, os.getpid())
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._byte)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    raise _busy(session, _asked(descriptor, self._byte)) from None
                raise SessionError(f"cannot lock {self._file}: {error.strerror}") from error
            _held.add((self._file, self._byte))

    def release(self) -> None:
        """Lets others run the session."""
        with _guard:
            if (self._file, self._byte) in _held:
                _held.discard((self._file, self._byte))
                fcntl.lockf(_opened(self._file), fcntl.LOCK_UN, 1, self._byte)


def forget(path: Path) -> None:
    """Closes the file of locks beside a file of sessions, unless this process has one of them."""
    file = _lock_file(path)
    with _guard:
        if _owner == os.getpid() and not any(held == file for held, _ in _held) and file in _files:
            os.close(_files.pop(file))


def runner(path: Path, session: str) -> int | None:
    """The process that runs a session now; None for none."""
    file, byte = _lock_file(path), _byte(session)
    with _guard:
        descriptor = _opened(file)
        return os.getpid() if (file, byte) in _held else _asked(descriptor, byte)


def _opened(file: Path) -> int:
    """The descriptor of a file of locks. In a process that was forked the table begins empty, as its locks do."""
    global _owner
    if _owner != os.getpid():
        _owner = os.getpid()
        _held.clear()
    try:
        if file not in _files or not os.path.samestat(os.fstat(_files[file]), os.stat(file)):
            raise FileNotFoundError
    except FileNotFoundError:  # never opened, or deleted since
        try:
            _files[file] = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SessionError(f"cannot open {file}, which holds the locks of sessions: {error.strerror}") from error
    return _files[file]


def _asked(descriptor: int, byte: int) -> int | None:
    """Who has a byte of a file; 0 where that is no process of this system."""
    wanted = {"type": fcntl.F_WRLCK, "whence": os.SEEK_SET, "start": byte, "len": 1, "pid": 0}
    request = struct.pack(_FORM, *(wanted[name] for name in _FIELDS))
    answer = dict(zip(_FIELDS, struct.unpack(_FORM, fcntl.fcntl(descriptor, fcntl.F_GETLK, request)), strict=True))
    return None if answer["type"] == fcntl.F_UNLCK else max(answer["pid"], 0)


def _busy(session: str, pid: int | None) -> SessionBusyError:
    who = f"process {pid}" if pid else "another process"
    return SessionBusyError(f"session {session!r} is being run by {who}: wait for its end, or use another", pid or None)


def _lock_file(path: Path) -> Path:
    real = path.resolve()
    return real.with_name(f"{real.name}-lock")


def _byte(session: str) -> int:
    """A place for each id: 62 bits of its hash, which no two ids share in practice."""
    return int.from_bytes(hashlib.sha256(session.encode()).digest()[:8]) >> 2
