"""The SQLite file that sessions are kept in: how it is opened, written and checked, and what its errors mean."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from loraloop.agent.sessions.migration import migrate
from loraloop.tool_schemas.errors import SessionError

FORMAT = 2
"""Of the file: ``PRAGMA user_version``."""
WAIT = 10.0
"""Seconds that a write waits for another one."""
_MARK = 0x4C4F4F53  # PRAGMA application_id
_KEPT = "what was committed before is there, and the session can be resumed"
_MEANING = {
    sqlite3.SQLITE_FULL: f"there is no room for {{path}}: make some; {_KEPT}",
    sqlite3.SQLITE_IOERR: f"{{path}} cannot be read or written ({{error}}): see to its disk; {_KEPT}",
    sqlite3.SQLITE_BUSY: f"another program has {{path}} locked for more than {{wait:g}} s: end it; {_KEPT}",
    sqlite3.SQLITE_READONLY: "{path} cannot be written ({error}): change its permissions, or name another file",
    sqlite3.SQLITE_CANTOPEN: "{path} cannot be opened ({error}): name a file in a folder that can be written",
    sqlite3.SQLITE_NOTADB: "{path} is no file of sessions: name another file",
    sqlite3.SQLITE_CORRUPT: "{path} is damaged ({error}): restore a copy, or have `sqlite3 {path} .recover` save what "
    "can be read",
}
_SCHEMA = """
CREATE TABLE sessions (key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, title TEXT NOT NULL, created REAL NOT NULL,
    updated REAL NOT NULL, version INTEGER NOT NULL, owner TEXT NOT NULL DEFAULT '');
CREATE TABLE messages (session INTEGER NOT NULL REFERENCES sessions (key) ON DELETE CASCADE, place INTEGER NOT NULL,
    body TEXT NOT NULL, PRIMARY KEY (session, place));
CREATE TABLE runs (session INTEGER NOT NULL REFERENCES sessions (key) ON DELETE CASCADE, run INTEGER NOT NULL,
    run_id TEXT NOT NULL, started REAL NOT NULL, ended REAL, asked TEXT NOT NULL, state TEXT, written TEXT,
    stop_reason TEXT, result TEXT, PRIMARY KEY (session, run));
CREATE TABLE steps (session INTEGER NOT NULL REFERENCES sessions (key) ON DELETE CASCADE, run INTEGER NOT NULL,
    step INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (session, run, step));
CREATE TABLE calls (session INTEGER NOT NULL REFERENCES sessions (key) ON DELETE CASCADE, run INTEGER NOT NULL,
    step INTEGER NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, arguments TEXT NOT NULL, begun REAL NOT NULL,
    times INTEGER NOT NULL, ended REAL, record TEXT, PRIMARY KEY (session, run, step, number));
"""


class SessionFile:
    """One file. Thread-safe; a process that was forked opens it anew.

    A commit is on the disk when it returns: the journal mode is WAL and ``synchronous`` is FULL, which is one fsync a
    commit, so that not even a power failure takes back what was committed.

    Args:
        path: Made, with its folder, where there is none.

    Raises:
        SessionError: It cannot be opened, is something else, or is of another format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._owner = os.getpid()
        self._database = self._open()
        self._inherited: list[sqlite3.Connection] = []  # never closed here: they are the parent's

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction that sees one state of the file.

        Raises:
            SessionError: The file cannot be read.
        """
        with self._transaction("BEGIN") as database:
            yield database

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is on the disk after the block, or has left no trace.

        Raises:
            SessionError: It could not be written: no room, a lock that is not given back, a damaged file.
        """
        with self._transaction("BEGIN IMMEDIATE") as database:
            yield database

    def close(self) -> None:
        """Closes the file; it cannot be used after that."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        if self._owner != os.getpid():
            self._inherited.append(self._database)
            self._lock, self._database, self._owner = threading.RLock(), self._open(), os.getpid()
        with self._lock:
            database = self._database
            try:
                database.execute(begin)
                try:
                    yield database
                except BaseException:
                    _undo(database)
                    raise
                database.execute("COMMIT")
            except sqlite3.Error as error:
                _undo(database)
                raise self._explained(error) from error

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None, check_same_thread=False)
        except (sqlite3.Error, OSError) as error:
            raise SessionError(f"cannot open the sessions {self.path}: {error}; name another file") from error
        try:
            self._prepare(database)
        except sqlite3.Error as error:
            database.close()
            raise self._explained(error) from error
        except BaseException:
            database.close()
            raise
        return database

    def _prepare(self, database: sqlite3.Connection) -> None:
        mark = database.execute("PRAGMA application_id").fetchone()[0]
        if mark != _MARK and database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise SessionError(f"{self.path} is another program's database: name another file for the sessions")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > FORMAT:
            raise SessionError(
                f"{self.path} has sessions of format {version}, and this loraloop reads formats up to {FORMAT}: "
                "name another file, or use the loraloop that wrote it"
            )
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA foreign_keys = ON")
        database.text_factory = lambda raw: raw.decode("utf-8", "replace")  # a damaged row is told by its place
        if version == 0:
            self._create(database)
        elif version < FORMAT:
            self._migrate(database)

    @staticmethod
    def _create(database: sqlite3.Connection) -> None:
        database.execute("BEGIN IMMEDIATE")
        if database.execute("PRAGMA user_version").fetchone()[0] == 0:  # nobody else was faster
            for statement in _SCHEMA.split(";"):
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {_MARK}")
            database.execute(f"PRAGMA user_version = {FORMAT}")
        database.execute("COMMIT")

    def _migrate(self, database: sqlite3.Connection) -> None:
        """Brings a file of 0.1 to this format. Before, the file is copied as it is: `FILE.format-1`."""
        database.execute("BEGIN IMMEDIATE")
        if database.execute("PRAGMA user_version").fetchone()[0] == 1:  # nobody else was faster
            kept = self.path.with_name(f"{self.path.name}.format-1")
            part = kept.with_name(f".{kept.name}.{os.getpid()}")
            with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(part)) as target:
                source.backup(target)
            part.replace(kept)
            migrate(database)
            database.execute(f"PRAGMA user_version = {FORMAT}")
        database.execute("COMMIT")

    def _explained(self, error: sqlite3.Error) -> SessionError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the extension that says where it happened
        said = _MEANING.get(code, "{path} failed ({error})").format(path=self.path, error=error, wait=WAIT)
        return SessionError(f"the sessions: {said}")


def _undo(database: sqlite3.Connection) -> None:
    if database.in_transaction:
        with suppress(sqlite3.Error):  # the error that led here says more
            database.execute("ROLLBACK")
