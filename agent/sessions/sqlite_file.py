"""An SQLite file of ours: opening, marking, and transactions of threads and of forked processes."""

from __future__ import annotations

import os
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path


class SqliteFile(ABC):
    """One file. Thread-safe; a process that was forked opens it anew.

    Attributes:
        wait: Seconds that a write waits for another one.

    Args:
        path: The file; None for a database in memory.
    """

    wait = 10.0

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._owner = os.getpid()
        self._database = self._open()
        self._inherited: list[sqlite3.Connection] = []  # never closed here: they are the parent's

    @abstractmethod
    def prepare(self, database: sqlite3.Connection) -> None:
        """Checks a file that was just opened, and makes its tables if it is new."""

    @abstractmethod
    def explained(self, error: sqlite3.Error) -> Exception:
        """The exception to raise in place of an error of SQLite."""

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """A transaction that sees one state of the file."""
        return self._transaction("BEGIN")

    def writing(self) -> AbstractContextManager[sqlite3.Connection]:
        """A transaction that is on the disk after the block, or has left no trace."""
        return self._transaction("BEGIN IMMEDIATE")

    def close(self) -> None:
        """Closes the file; it cannot be used after that."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        if self.path is not None and self._owner != os.getpid():  # forked: a connection must not be shared
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
                raise self.explained(error) from error

    def _open(self) -> sqlite3.Connection:
        try:
            database = sqlite3.connect(
                self.path or ":memory:", timeout=self.wait, isolation_level=None, check_same_thread=False
            )
            try:
                self.prepare(database)
            except BaseException:
                database.close()
                raise
        except sqlite3.Error as error:
            raise self.explained(error) from error
        return database


def is_ours(database: sqlite3.Connection, mark: int) -> bool:
    """Whether a database is new, or has our mark."""
    tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return not tables or database.execute("PRAGMA application_id").fetchone()[0] == mark


def create(database: sqlite3.Connection, schema: str, mark: int, version: int) -> None:
    """Makes the tables and marks the file, unless another process was faster.

    Args:
        database: A connection that is in no transaction.
        schema: SQL statements separated by semicolons; none may hold one itself.
        mark: Number in the file's header (`application_id`) that says the file is ours; see `is_ours`.
        version: Version of the tables (`user_version`), above 0; a file that has one is left as it is.
    """
    database.execute("BEGIN IMMEDIATE")
    if database.execute("PRAGMA user_version").fetchone()[0] == 0:
        for statement in schema.split(";"):
            database.execute(statement)
        database.execute(f"PRAGMA application_id = {mark}")
        database.execute(f"PRAGMA user_version = {version}")
    database.execute("COMMIT")


def _undo(database: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):  # the error that led here says more
        if database.in_transaction:
            database.execute("ROLLBACK")
