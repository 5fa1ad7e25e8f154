"""The SQLite file that sessions are kept in: its versions, its locks, and what its errors mean."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from loraloop.agent.sessions import file_lock
from loraloop.agent.sessions.file_lock import FileLease
from loraloop.agent.sessions.schema import VERSION, changes
from loraloop.agent.sessions.sqlite_file import SqliteFile, create, is_ours
from loraloop.agent.sessions.store import INTERRUPTED, Runner
from loraloop.tool_schemas.errors import SessionBusyError, SessionError

_MARK = 0x4C4F4F53  # PRAGMA application_id
_KEPT = "what was committed before is there, and the session can be resumed"
_MEANING = {
    sqlite3.SQLITE_FULL: f"there is no room for {{path}}: make some; {_KEPT}",
    sqlite3.SQLITE_IOERR: f"{{path}} cannot be read or written ({{error}}): see to its disk; {_KEPT}",
    sqlite3.SQLITE_BUSY: f"another program has {{path}} locked for more than {{wait:g}} s: end it; {_KEPT}",
    sqlite3.SQLITE_READONLY: "{path} cannot be written ({error}): change its permissions, or name another file",
    sqlite3.SQLITE_CANTOPEN: "{path} cannot be opened ({error}): name a file in a folder that can be written",
    sqlite3.SQLITE_NOTADB: "{path} is not a file of sessions: name another file",
    sqlite3.SQLITE_CORRUPT: "{path} is damaged ({error}): restore a copy, or have `sqlite3 {path} .recover` save what "
    "can be read",
}
_KEY = "INTEGER PRIMARY KEY"


class SessionFile(SqliteFile):
    """The file of sessions: a `SessionStore` for the processes of one machine.

    A commit is on the disk when it returns: the journal mode is WAL and ``synchronous`` is FULL, which is one fsync a
    commit, so that not even a power failure takes back what was committed.

    Args:
        path: Made, with its folder, where there is none; None for a database in memory, which has no leases.

    Raises:
        SessionError: It cannot be opened, is something else, or is of another format; later, if it cannot be read or
            written.
    """

    path: Path

    def __init__(self, path: Path | None) -> None:
        if path is None:
            super().__init__(None)
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # conversations are their owner's alone; SQLite would let everybody read
                os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            raise SessionError(f"cannot open the sessions {path}: {error}; name another file") from error
        super().__init__(path)

    @property
    def place(self) -> str:
        """The path."""
        return str(self.path)

    def lease(self, session: str) -> FileLease:
        """Takes the right to run a session: the lock of a file, which ends with the process."""
        return FileLease(self.path, session)

    def check_free(self, session: str) -> None:
        """Raises SessionBusyError if somebody runs a session."""
        self.lease(session).release()

    def take_interrupted(self, except_for: Collection[str]) -> tuple[str, FileLease] | None:
        """Takes a session whose last run has not ended and that nobody runs, the longest untouched first."""
        with self.reading() as database:
            names = [name for (name,) in database.execute(f"{INTERRUPTED} ORDER BY updated").fetchall()]
        for name in names:
            if name not in except_for:
                with suppress(SessionBusyError):
                    lease = self.lease(name)
                    if self._is_interrupted(name):  # else somebody has just ended it
                        return name, lease
                    lease.release()
        return None

    def _is_interrupted(self, session: str) -> bool:
        with self.reading() as database:
            return database.execute(f"{INTERRUPTED} AND id = ?", (session,)).fetchone() is not None

    def runners(self, sessions: Iterable[str]) -> dict[str, Runner]:
        """The runners of these sessions, by session."""
        found = ((name, file_lock.runner(self.path, name)) for name in sessions)
        return {name: runner for name, runner in found if runner is not None}

    def forget(self, session: str) -> None:
        """Removes the lock file of a session that was deleted."""
        file_lock.forget(self.path, session)

    def prepare(self, database: sqlite3.Connection) -> None:
        """Checks the format, and brings an older one to that of now."""
        if not is_ours(database, _MARK):
            raise SessionError(f"{self.path} is another program's database: name another file for the sessions")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise SessionError(
                f"{self.path} has sessions of format {version}, and this loraloop reads formats up to {VERSION}: "
                "name another file, or use the loraloop that wrote it"
            )
        if version == 1:
            raise SessionError(
                f"{self.path} has sessions of loraloop 0.1: open it once with loraloop 0.2, which converts it"
            )
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA foreign_keys = ON")
        database.text_factory = lambda raw: raw.decode("utf-8", "replace")  # a damaged row is told by its place
        if version == 0:
            create(database, ";".join(changes(0, _KEY)), _MARK, VERSION)
        elif version < VERSION:
            self._migrate(database)

    def _migrate(self, database: sqlite3.Connection) -> None:
        """Brings the file to this format; earlier ones could be read by everybody."""
        for suffix in ("", "-wal", "-shm"):
            with suppress(OSError):  # it is another's, or not there
                Path(f"{self.path}{suffix}").chmod(0o600)
        database.execute("BEGIN IMMEDIATE")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        for statement in changes(version, _KEY):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("COMMIT")

    def explained(self, error: sqlite3.Error) -> SessionError:
        """The error in words, with what to do."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the extension that says where it happened
        reason = _MEANING.get(code, "{path} failed ({error})").format(path=self.path, error=error, wait=self.wait)
        return SessionError(f"the sessions: {reason}")
