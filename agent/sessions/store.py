"""What sessions need of a database: transactions, and leases. An SQLite file and PostgreSQL provide it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from loraloop.tool_schemas.errors import SessionBusyError


class Rows(Protocol):
    """The rows that a statement found."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...


class Transaction(Protocol):
    """A transaction that is open. Statements are SQL that SQLite and PostgreSQL both know, with `?` for values."""

    def execute(self, statement: str, values: Sequence[Any] = ..., /) -> Rows: ...
    def executemany(self, statement: str, values: Iterable[Sequence[Any]], /) -> object: ...


@dataclass(frozen=True, slots=True)
class Runner:
    """The process that has a lease.

    Attributes:
        pid: Number of the process; 0 if that is not known.
        host: The machine; empty where only this one can be meant.
    """

    pid: int
    host: str = ""

    def __str__(self) -> str:
        process = f"process {self.pid}" if self.pid else "another process"
        return f"{process} on {self.host}" if self.host else process

    def busy(self, session: str) -> SessionBusyError:
        """The error for another one that wants the session."""
        message = f"session {session!r} is being run by {self}: wait for its end, or use another"
        return SessionBusyError(message, self.pid or None)


class Lease(Protocol):
    """The right to run one session.

    Attributes:
        owner: A name of this lease alone. Every commit of a run checks that the session still has it.
    """

    owner: str

    def release(self) -> None:
        """Lets others run the session."""


class SessionStore(Protocol):
    """A database of sessions. Safe for threads; a process that was forked opens it anew.

    Every method raises SessionError where the database cannot be used, and says what to do.

    Attributes:
        place: What errors call it: the path, or the URL without its password.
    """

    @property
    def place(self) -> str: ...

    def reading(self) -> AbstractContextManager[Transaction]:
        """A transaction that sees one state of the database."""

    def writing(self) -> AbstractContextManager[Transaction]:
        """A transaction that is on the disk after the block, or has left no trace."""

    def lease(self, session: str) -> Lease:
        """Takes the right to run a session.

        Raises:
            SessionBusyError: Another runner has it.
        """

    def check_free(self, session: str) -> None:
        """Raises SessionBusyError if somebody runs a session."""

    def take_interrupted(self, except_for: Collection[str]) -> tuple[str, Lease] | None:
        """Takes a session whose last run has not ended and that nobody runs: its id and the lease; None for none."""

    def runners(self, sessions: Iterable[str]) -> dict[str, Runner]:
        """The runners of these sessions, by session."""

    def forget(self, session: str) -> None:
        """Removes what leases left behind of a session that was deleted."""

    def close(self) -> None:
        """Closes it; it cannot be used after that."""


INTERRUPTED = "SELECT id FROM sessions JOIN runs ON session = key WHERE ended IS NULL"
"""The ids of the sessions whose last run has not ended."""
