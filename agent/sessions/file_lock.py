"""One runner a session: a file lock, which the system drops when its process ends, however it ends.

Each session has a lock file of its own, beside the file of the sessions. A forked child does not keep the lock.
A file of sessions belongs on a local disk: SQLite's write-ahead log needs memory that its processes share, and a
network file system has none.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from loraloop.agent.sessions.store import Runner
from loraloop.tool_schemas.errors import SessionError

_MOMENT = 0.2  # seconds to wait for those who only look whether a session is being run


class FileLease:
    """The right to run one session. `release` gives it back, and so does the end of the process.

    Args:
        path: The file of the sessions.
        session: Id of the session.

    Attributes:
        owner: A name of this lease alone. Every commit of a run checks that the session still has it.

    Raises:
        SessionBusyError: Another runner has it.
        SessionError: The lock file cannot be used.
    """

    def __init__(self, path: Path, session: str) -> None:
        file = _lock_file(path, session)
        self.owner = secrets.token_hex(8)
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = FileLock(file, timeout=_MOMENT, thread_local=False)
            self._lock.acquire(poll_interval=0.01)
            file.write_text(str(os.getpid()), encoding="ascii")
        except Timeout:
            raise _runner(file).busy(session) from None
        except OSError as error:
            raise SessionError(f"cannot lock {file}: {error.strerror or error}") from error

    def release(self) -> None:
        """Lets others run the session."""
        self._lock.release()


def runner(path: Path, session: str) -> Runner | None:
    """The process that runs a session now; None for none."""
    file = _lock_file(path, session)
    if not file.exists():
        return None
    lock = FileLock(file, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        return _runner(file)
    except OSError as error:
        raise SessionError(f"cannot open {file}, the lock of a session: {error.strerror or error}") from error
    lock.release()
    return None


def forget(path: Path, session: str) -> None:
    """Removes the lock file of a session that was deleted."""
    with suppress(OSError):
        _lock_file(path, session).unlink(missing_ok=True)


def _runner(file: Path) -> Runner:
    with suppress(OSError, ValueError):
        return Runner(int(file.read_text(encoding="ascii")))
    return Runner(0)


def _lock_file(path: Path, session: str) -> Path:
    real = path.resolve()
    return real.with_name(f"{real.name}-locks") / f"{hashlib.sha256(session.encode()).hexdigest()[:32]}.lock"
