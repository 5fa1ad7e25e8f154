"""Sessions in PostgreSQL, which many machines share: connections, leases by its clock, and what its errors mean."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from urllib.parse import urlsplit

from loraloop.agent.sessions.schema import VERSION, changes
from loraloop.agent.sessions.store import INTERRUPTED, Rows, Runner, Transaction
from loraloop.tool_schemas.errors import InputError, SessionError

try:
    import psycopg
    from psycopg import errors
    from psycopg.conninfo import conninfo_to_dict
    from psycopg_pool import ConnectionPool, PoolTimeout
except ImportError as missing:
    why = f"sessions in PostgreSQL need {missing.name}: pip install 'loraloop[postgres]'"
    raise InputError(why) from None

log = logging.getLogger(__name__)
_KEPT = "what was committed before is there, and the session can be resumed"
_LOCK = 0x4C4F4F53  # of the transaction that makes the tables
_CONNECTION = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
_LEASES = """
CREATE TABLE leases (session TEXT PRIMARY KEY, owner TEXT NOT NULL, pid INTEGER NOT NULL, host TEXT NOT NULL,
    expires TIMESTAMPTZ NOT NULL)
"""
_BEGIN = """BEGIN {how}; SET LOCAL search_path TO loraloop; SET LOCAL lock_timeout TO {ms};
    SET LOCAL idle_in_transaction_session_timeout TO {ms}; {more}"""  # one round trip; holds behind a pooler too
_END = "clock_timestamp() + make_interval(secs => ?)"
_TAKEN = f"""ON CONFLICT (session) DO UPDATE SET owner = excluded.owner, pid = excluded.pid, host = excluded.host,
    expires = {_END} WHERE leases.expires < clock_timestamp() RETURNING session"""


class PostgresStore:
    """A schema `loraloop` in a PostgreSQL database: a `SessionStore` for many machines.

    A commit is on the server's disk when it returns: `synchronous_commit` is on, whatever the database's own setting.

    Args:
        url: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`, with any parameter of libpq.

    Attributes:
        place: The URL without user, password and parameters.
        lease_seconds: How long a lease is valid; it is renewed three times as often. So long does a session wait until
            another machine can take it over from one that died.
        wait: Seconds to wait for a connection, or for another writer of the same session.

    Raises:
        InputError: The URL is none.
        SessionError: The database cannot be used, or its schema is of a newer version.
    """

    lease_seconds = 15.0
    wait = 10.0

    def __init__(self, url: str) -> None:
        try:
            self._settings: dict[str, Any] = {**_CONNECTION, **conninfo_to_dict(url)}
            parts = urlsplit(url)
            self.place = f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"
        except (psycopg.Error, ValueError) as error:
            message = str(error).strip()  # libpq names the parameter, and never its value
            raise InputError(f"the URL of the sessions is not one of PostgreSQL: {message}") from None
        self._closed = False
        self._open()
        with self._explained():
            self._prepare()

    def _open(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._leases: dict[str, str] = {}  # sessions by the owner of their lease
        self._released = threading.Condition(self._lock)
        self._renewer: threading.Thread | None = None
        self._pool = ConnectionPool(
            kwargs={**self._settings, "autocommit": True, "prepare_threshold": None},
            min_size=0,
            max_size=8,
            timeout=self.wait,
            check=ConnectionPool.check_connection,  # the server may have been started anew
            open=True,
        )

    def _prepare(self) -> None:
        """Makes the tables, or brings them to the version of now."""
        with psycopg.connect(**self._settings, autocommit=True) as connection:  # a pool would hide why it cannot
            if _version(connection) == VERSION:
                connection.execute("DELETE FROM loraloop.leases WHERE expires < clock_timestamp() - interval '1 day'")
                return
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                version = _version(connection)  # another machine may have been faster
                if version > VERSION:
                    raise SessionError(
                        f"{self.place} has sessions of format {version}, and this loraloop reads formats up to "
                        f"{VERSION}: name another database, or use the loraloop that wrote it"
                    )
                if version == 0:
                    connection.execute("CREATE SCHEMA loraloop")
                    connection.execute("CREATE TABLE loraloop.schema_version (version INTEGER NOT NULL)")
                    connection.execute("INSERT INTO loraloop.schema_version VALUES (0)")
                connection.execute("SET LOCAL search_path TO loraloop")
                made = [_LEASES] if version == 0 else []
                for statement in (*made, *changes(version, "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY")):
                    connection.execute(statement)
                connection.execute("UPDATE schema_version SET version = %s", (VERSION,))

    def reading(self) -> AbstractContextManager[Transaction]:
        """A transaction that sees one state of the database."""
        return self._transaction("ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def writing(self) -> AbstractContextManager[Transaction]:
        """A transaction that is on the disk after the block, or has left no trace."""
        return self._transaction("ISOLATION LEVEL READ COMMITTED", "SET LOCAL synchronous_commit TO on")

    def lease(self, session: str) -> PostgresLease:
        """Takes the right to run a session, which is renewed until it is released or the process ends."""
        lease = PostgresLease(self, session)
        values = (session, lease.owner, *_me(), self.lease_seconds, self.lease_seconds)
        with self._leasing() as transaction:
            taken = transaction.execute(f"INSERT INTO leases VALUES (?, ?, ?, ?, {_END}) {_TAKEN}", values).fetchone()
        if taken is None:
            raise self.runners([session]).get(session, Runner(0)).busy(session)
        self._renew(lease)
        return lease

    def check_free(self, session: str) -> None:
        """Raises SessionBusyError if somebody runs a session."""
        if runner := self.runners([session]).get(session):
            raise runner.busy(session)

    def take_interrupted(self, except_for: Collection[str]) -> tuple[str, PostgresLease] | None:
        """Takes a session whose last run has not ended and that nobody runs, the longest untouched first.

        Of several machines that ask at the same time, each gets another one, and none waits.
        """
        lease = PostgresLease(self, "")
        free = f"""{INTERRUPTED} AND id <> ALL(?) AND NOT EXISTS (
            SELECT 1 FROM leases WHERE leases.session = id AND expires > clock_timestamp())
            ORDER BY updated LIMIT 1 FOR UPDATE OF sessions SKIP LOCKED"""
        values = (list(except_for), lease.owner, *_me(), self.lease_seconds, self.lease_seconds)
        statement = f"WITH free AS ({free}) INSERT INTO leases SELECT id, ?, ?, ?, {_END} FROM free {_TAKEN}"
        with self._leasing() as transaction:
            taken = transaction.execute(statement, values).fetchone()
        if taken is None:
            return None
        (lease.session,) = taken
        self._renew(lease)
        return lease.session, lease

    def runners(self, sessions: Iterable[str]) -> dict[str, Runner]:
        """The runners of these sessions, by session."""
        statement = "SELECT session, pid, host FROM leases WHERE session = ANY(?) AND expires > clock_timestamp()"
        with self.reading() as transaction:
            rows = transaction.execute(statement, (list(sessions),)).fetchall()
        return {session: Runner(pid, host) for session, pid, host in rows}

    def forget(self, session: str) -> None:
        """Nothing: a lease leaves nothing behind."""

    def release(self, lease: PostgresLease) -> None:
        """Lets others run a session. Where the server cannot be reached, the lease runs out by itself."""
        with self._released:
            if self._pid != os.getpid() or self._leases.pop(lease.owner, None) is None:
                return
            self._released.notify_all()
        try:
            with self._leasing() as transaction:
                transaction.execute("DELETE FROM leases WHERE owner = ?", (lease.owner,))
        except SessionError as error:
            log.warning("the lease of session %r runs out in %g s: %s", lease.session, self.lease_seconds, error)

    def close(self) -> None:
        """Closes the connections; it cannot be used after that."""
        self._closed = True
        self._pool.close()

    def _renew(self, lease: PostgresLease) -> None:
        """Has a lease renewed from now on, by a thread that lives as long as there are some."""
        with self._lock:
            self._leases[lease.owner] = lease.session
            if self._renewer is None:
                self._renewer = threading.Thread(target=self._renewing, name="loraloop leases", daemon=True)
                self._renewer.start()

    def _renewing(self) -> None:
        statement = f"UPDATE leases SET expires = {_END} WHERE owner = ANY(?)"
        while True:
            with self._released:
                self._released.wait_for(lambda: not self._leases, self.lease_seconds / 3)
                if not self._leases or self._closed:
                    self._renewer = None
                    return
                owners = list(self._leases)
            try:
                with self._leasing() as transaction:
                    transaction.execute(statement, (self.lease_seconds, owners))
            except SessionError as error:  # it is tried again; commits check the owner in any case
                log.warning("the leases of sessions were not renewed: %s", error)

    def _leasing(self) -> AbstractContextManager[Transaction]:
        """A transaction that need not wait for the disk: leases do not outlive a crash of the server."""
        return self._transaction("ISOLATION LEVEL READ COMMITTED", "SET LOCAL synchronous_commit TO off")

    @contextmanager
    def _transaction(self, how: str, more: str = "") -> Iterator[Transaction]:
        """A transaction that is committed after the block, or rolled back if that failed."""
        with self._explained():
            if self._pid != os.getpid() and not self._closed:  # forked: the connections and leases are the parent's
                self._open()
            with self._pool.connection() as connection:
                connection.execute(_BEGIN.format(how=how, ms=int(1e3 * self.wait), more=more))
                yield _PostgresTransaction(connection)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise SessionError(f"the sessions: {self._meaning(error)}") from error

    def _meaning(self, error: psycopg.Error) -> str:
        """An error in words, with what to do."""
        why = " ".join(str(error).split())
        match error:
            case errors.DiskFull() | errors.OutOfMemory() | errors.ConfigurationLimitExceeded():
                return f"there is no room at {self.place} ({why}): make some; {_KEPT}"
            case errors.LockNotAvailable() | errors.DeadlockDetected():
                return f"another program has locked rows of {self.place} for more than {self.wait:g} s; {_KEPT}"
            case errors.InsufficientPrivilege() | errors.ReadOnlySqlTransaction():
                return f"{self.place} cannot be written ({why}): grant it, or name another database"
            case errors.InvalidCatalogName() | errors.InvalidPassword() | errors.InvalidAuthorizationSpecification():
                return f"{self.place} cannot be opened ({why}): see to the URL"
            case errors.UndefinedTable() | errors.UndefinedColumn() | errors.InvalidSchemaName():
                return f"{self.place} has lost tables of the schema loraloop ({why}): restore a backup"
            case errors.DataCorrupted() | errors.IndexCorrupted():
                return f"{self.place} is damaged ({why}): restore a backup"
            case PoolTimeout():
                return f"{self.place} does not answer, or has no free connection, for {self.wait:g} s; {_KEPT}"
            case psycopg.OperationalError() if self._closed:
                return f"{self.place} was closed: open it again"
            case psycopg.OperationalError():
                return f"{self.place} cannot be reached ({why}): see to the URL and to the server; {_KEPT}"
        return f"{self.place} failed ({why})"


class PostgresLease:
    """The right to run one session, until it is released; of a process that dies, until it runs out."""

    def __init__(self, store: PostgresStore, session: str) -> None:
        self.session, self.owner, self._store = session, secrets.token_hex(8), store

    def release(self) -> None:
        """Lets others run the session."""
        self._store.release(self)


class _PostgresTransaction:
    """Statements with `?` for values, as SQLite has them."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Rows:
        return self._connection.execute(statement.replace("?", "%s").encode(), values)

    def executemany(self, statement: str, values: Iterable[Sequence[Any]], /) -> None:
        self._connection.cursor().executemany(statement.replace("?", "%s").encode(), values)


def _me() -> tuple[int, str]:
    return os.getpid(), socket.gethostname()


def _version(connection: psycopg.Connection[Any]) -> int:
    """The version of the schema; 0 where there is none."""
    # Not to_regclass: it does not see what another session has committed within this transaction.
    there = "SELECT 1 FROM pg_tables WHERE schemaname = 'loraloop' AND tablename = 'schema_version'"
    if connection.execute(there).fetchone() is None:
        return 0
    row = connection.execute("SELECT version FROM loraloop.schema_version").fetchone()
    return int(row[0]) if row else 0
