"""The SQLite file that sessions are kept in: its tables, its formats, and what its errors mean."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from loraloop.agent.sessions.migration import migrate
from loraloop.agent.sqlite_file import SqliteFile, create, is_ours
from loraloop.tool_schemas.errors import SessionError

FORMAT = 2
"""Of the file: ``PRAGMA user_version``."""
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


class SessionFile(SqliteFile):
    """The file of sessions.

    A commit is on the disk when it returns: the journal mode is WAL and ``synchronous`` is FULL, which is one fsync a
    commit, so that not even a power failure takes back what was committed.

    Args:
        path: Made, with its folder, where there is none.

    Raises:
        SessionError: It cannot be opened, is something else, or is of another format; later, if it cannot be read or
            written.
    """

    path: Path

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # conversations are their owner's alone; SQLite would let everybody read
                os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            raise SessionError(f"cannot open the sessions {path}: {error}; name another file") from error
        super().__init__(path)

    def prepare(self, database: sqlite3.Connection) -> None:
        """Checks the format, and brings a file of 0.1 to the one of now."""
        if not is_ours(database, _MARK):
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
            create(database, _SCHEMA, _MARK, FORMAT)
        elif version < FORMAT:
            self._migrate(database)

    def _migrate(self, database: sqlite3.Connection) -> None:
        """Brings a file of 0.1 to this format. Before, the file is copied as it is: `FILE.format-1`."""
        database.execute("BEGIN IMMEDIATE")
        if database.execute("PRAGMA user_version").fetchone()[0] == 1:  # nobody else was faster
            kept = self.path.with_name(f"{self.path.name}.format-1")
            part = kept.with_name(f".{kept.name}.{os.getpid()}")
            os.close(os.open(part, os.O_CREAT, 0o600))
            with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(part)) as target:
                source.backup(target)
            part.replace(kept)
            migrate(database)
            database.execute(f"PRAGMA user_version = {FORMAT}")
        database.execute("COMMIT")

    def explained(self, error: sqlite3.Error) -> SessionError:
        """The error in words, with what to do."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the extension that says where it happened
        said = _MEANING.get(code, "{path} failed ({error})").format(path=self.path, error=error, wait=self.wait)
        return SessionError(f"the sessions: {said}")
