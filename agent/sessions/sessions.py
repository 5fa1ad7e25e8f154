"""Sessions: conversations that outlive the process. What a run did is in a database before the run goes on."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from time import time
from typing import Any, Protocol

from loraloop.adapters.base.loading.folders import data_folder
from loraloop.adapters.base.messages import Message
from loraloop.agent.messages import is_date_note
from loraloop.agent.sessions.journal import OnUnfinished, SessionJournal
from loraloop.agent.sessions.rows import (
    SessionCall,
    SessionInfo,
    SessionState,
    SessionTurn,
    claim,
    finish,
    info_rows,
    interrupted_of,
    last_run,
    lines_of,
    storable,
    touch,
    transcribe,
    turns_of,
)
from loraloop.agent.sessions.sqlite import SessionFile
from loraloop.agent.sessions.store import Lease, Runner, SessionStore
from loraloop.agent.values.checkpoint import Line
from loraloop.agent.values.result import RunResult
from loraloop.tool_schemas.errors import InputError, SessionBusyError, SessionError, unknown

__all__ = ["OnUnfinished", "Session", "SessionCall", "SessionInfo", "SessionState", "SessionTurn", "Sessions"]


def sessions_place() -> str:
    """`$LORALOOP_SESSIONS`, else the file `sessions.db` in the user's data folder."""
    return os.environ.get("LORALOOP_SESSIONS") or str(data_folder() / "sessions.db")


def open_store(place: str | os.PathLike[str]) -> SessionStore:
    """The store at a place: an SQLite file, or PostgreSQL by its URL.

    Raises:
        SessionError: It cannot be opened, is something else, or is of another format.
        InputError: The URL is of something else, or psycopg is not installed.
    """
    if "://" not in str(place):
        return SessionFile(Path(place))
    if not str(place).startswith(("postgresql://", "postgres://")):
        scheme = str(place).partition(":")[0]
        raise InputError(f"sessions are stored in a file or in PostgreSQL (postgresql://…), not in {scheme}")
    from loraloop.agent.sessions.postgres import PostgresStore

    return PostgresStore(str(place))


class Sessions:
    """Sessions in one database. Safe for threads, for processes, and in PostgreSQL for many machines.

    Args:
        place: An SQLite file on a local disk, made where there is none, or the URL of a PostgreSQL database
            (`postgresql://…`). By default the user's own file, see `sessions_place`.

    Attributes:
        place: The path, or the URL without its password.
        database: Where they are kept.

    Raises:
        SessionError: It cannot be opened, holds something else, or is of another format.
        InputError: The URL is of something else, or psycopg is not installed.
    """

    def __init__(self, place: str | os.PathLike[str] | None = None) -> None:
        self.database = open_store(sessions_place() if place is None else place)
        self.place = self.database.place

    def session(self, id: str | None = None, title: str = "") -> Session:
        """A session, known or new; it is kept from its first run on.

        Args:
            id: Name of the session: one line, at most 200 characters; a new one where None.
            title: Title of a new session; by default the beginning of its first prompt.

        Raises:
            InputError: The name is unusable.
        """
        name = uuid.uuid4().hex[:12] if id is None else id
        if not isinstance(name, str) or not name.strip() or len(name) > 200 or not name.isprintable():
            raise InputError(f"a session's id is one line of 1 to 200 characters, not {name!r}")
        return Session(self, name, title)

    def __getitem__(self, id: str) -> Session:
        """A session that is kept.

        Raises:
            UnknownNameError: There is none of this name; the nearest is told.
        """
        if id not in self:
            raise unknown("session", id, (each.id for each in self.list()))
        return Session(self, id)

    def __contains__(self, id: object) -> bool:
        with self.database.reading() as database:
            return database.execute("SELECT 1 FROM sessions WHERE id = ?", (str(id),)).fetchone() is not None

    def __len__(self) -> int:
        with self.database.reading() as database:
            return int(database.execute("SELECT count(*) FROM sessions").fetchone()[0])

    def list(self) -> tuple[SessionInfo, ...]:
        """All sessions, the last written first."""
        with self.database.reading() as database:
            known = info_rows(database)
        running = self.database.runners(info.id for info in known)
        return tuple(_run_by(running.get(info.id), info) for info in known)

    def waiting(self) -> tuple[str, ...]:
        """The ids of the sessions whose last run waits for approval."""
        with self.database.reading() as database:
            rows = database.execute(
                "SELECT id FROM sessions JOIN runs ON session = key WHERE stop_reason = 'approval' "
                "AND run = (SELECT max(run) FROM runs WHERE session = key) ORDER BY updated"
            ).fetchall()
        return tuple(name for (name,) in rows)

    def interrupted(self) -> Iterator[Session]:
        """Takes over sessions whose runs were interrupted, one after another; nobody else is given the same one.

        Resume each before the next is asked for, `for session in store.interrupted(): session.resume(agent)`: then it
        is let go. Each session comes once at most.
        """
        seen: set[str] = set()
        while found := self.database.take_interrupted(seen):
            name, lease = found
            seen.add(name)
            session = Session(self, name, lease=lease)
            try:
                yield session
            finally:
                session._lease = None
                lease.release()

    def prune(self, older_than: timedelta) -> tuple[str, ...]:
        """Deletes the idle sessions to which nothing was written for so long; returns their ids.

        One that somebody runs, or goes on with while this goes on, stays.
        """
        if not isinstance(older_than, timedelta):
            raise InputError(f"older_than is {older_than!r}: give a timedelta, such as timedelta(days=30)")
        old = time() - older_than.total_seconds()
        idle = [each.id for each in self.list() if each.state == "idle" and each.updated.timestamp() < old]
        return tuple(name for name in idle if Session(self, name)._delete_older(old))

    def close(self) -> None:
        """Closes the database."""
        self.database.close()

    def __enter__(self) -> Sessions:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SessionAgent(Protocol):
    """An agent that can continue an interrupted run; `Agent` is one."""

    @property
    def run_sync(self) -> Callable[..., Any]: ...


class Session:
    """One conversation of a store. What it says of itself is read from the database each time.

    Attributes:
        store: Where it is kept.
        id: Name of the session.
    """

    def __init__(self, store: Sessions, id: str, title: str = "", lease: Lease | None = None) -> None:
        self.store = store
        self.id = id
        self._title = title
        self._lease = lease

    def __repr__(self) -> str:
        return f"Session({self.id!r}, {self.store.place!r})"

    @property
    def info(self) -> SessionInfo:
        """The session's entry in a list of sessions.

        Raises:
            UnknownNameError: It has had no run yet.
        """
        with self.store.database.reading() as database:
            known = info_rows(database, self.id)
        if not known:
            raise unknown("session", self.id, (each.id for each in self.store.list()))
        return _run_by(self.store.database.runners([self.id]).get(self.id), known[0])

    @property
    def state(self) -> SessionState:
        """`idle`, `running` in some process, or `interrupted`."""
        return self.info.state if self.id in self.store else "idle"

    @property
    def messages(self) -> tuple[Message, ...]:
        """The transcript after the last completed step."""
        with self.store.database.reading() as database:
            return tuple(message for message, _ in lines_of(database, self.id))

    @property
    def turns(self) -> tuple[SessionTurn, ...]:
        """The runs of the session, each with its steps and calls."""
        with self.store.database.reading() as database:
            return turns_of(database, self.id)

    @property
    def result(self) -> RunResult[Any] | None:
        """The result of the last run; None where that has not ended, or there is none."""
        turns = self.turns
        return turns[-1].result if turns else None

    @property
    def unfinished(self) -> tuple[SessionCall, ...]:
        """Calls of the last run that began and have no end: they may have run."""
        turns = self.turns
        return tuple(call for call in turns[-1].calls if call.ended is None) if turns else ()

    def resume(self, agent: SessionAgent, on_unfinished: OnUnfinished | None = None, **options: Any) -> Any:
        """Goes on with the run that was interrupted: ``agent.run_sync(session=…)`` without a prompt.

        Args:
            agent: As it was: tools of the same names, and the same base.
            on_unfinished: What becomes of calls that had begun and have no end: `run_again`, `report` (the model is
                told that they may have run), or `fail`. By default those of idempotent tools are run again, and
                others reported.
            **options: Options of the run that cannot be stored: `deps`, `policy`, `output_type`.

        Returns:
            The result of the whole run.

        Raises:
            SessionError: There is nothing to resume, an option is missing, or a call has no end and is to `fail`.
            SessionBusyError: Another runner has it.
        """
        return agent.run_sync(session=self, on_unfinished=on_unfinished, **options)

    def give_up(self) -> None:
        """Ends a run that was interrupted, or waits for approval, as it is: `stopped`.

        None of the calls that wait runs. Completed steps stay; a request without any is taken back.

        This works for a session with damaged rows too: its messages up to the first damaged one stay.

        Raises:
            SessionError: No run was interrupted, and none waits.
            SessionBusyError: It is running.
        """
        with self._alone() as owner, self.store.database.writing() as database:
            row = database.execute(
                "SELECT key, run, run_id, stop_reason FROM sessions LEFT JOIN runs ON session = key AND (ended IS NULL "
                "OR (stop_reason = 'approval' AND run = (SELECT max(run) FROM runs WHERE session = key))) WHERE id = ?",
                (self.id,),
            ).fetchone()
            if row is not None:
                claim(database, row[0], owner)
                touch(database, row[0], time(), owner)
            lines: list[Line] = []
            damaged = True
            with suppress(SessionError):
                lines.extend(lines_of(database, self.id))  # up to the first damaged one
                damaged = False
            if row is None or (row[1] is None and not damaged):
                raise SessionError(f"session {self.id!r} has no run to give up: none was interrupted or waits")
            key, run, run_id, stop = row
            if stop == "approval" and lines and lines[-1][0].role == "assistant":  # the calls that wait
                lines.pop()
            while lines and (lines[-1][0].role == "user" or is_date_note(lines[-1][0])):
                lines.pop()
            if run is not None:
                done = RunResult(run_id, output="", stop_reason="stopped", messages=(), steps=())
                finish(database, key, run, done, time())
            transcribe(database, key, lines, len(lines))

    def rename(self, title: str) -> None:
        """Gives it another title.

        Raises:
            SessionError: It has had no run yet.
        """
        with self.store.database.writing() as database:
            row = (storable(title), self.id)
            renamed = database.execute("UPDATE sessions SET title = ? WHERE id = ?", row).rowcount
        if not renamed:
            how = f"give its title as you make it, store.session({self.id!r}, title={title!r})"
            raise SessionError(f"session {self.id!r} has had no run yet: {how}")

    def delete(self) -> None:
        """Takes it out of the database.

        Raises:
            SessionBusyError: It is running.
        """
        with self._alone(), self.store.database.writing() as database:
            database.execute("DELETE FROM sessions WHERE id = ?", (self.id,))
        self.store.database.forget(self.id)

    def _delete_older(self, than: float) -> bool:
        """Deletes it unless it was written to since a time, in seconds since the epoch, or is running."""
        try:
            with self._alone(), self.store.database.writing() as database:
                old = database.execute("DELETE FROM sessions WHERE id = ? AND updated < ?", (self.id, than)).rowcount
        except SessionBusyError:
            return False
        if old:
            self.store.database.forget(self.id)
        return bool(old)

    def journal(self, prompt: str, on_unfinished: OnUnfinished | None = None, approval: bool = False) -> SessionJournal:
        """The journal of a run that is about to begin, or, without a prompt, to go on.

        Args:
            prompt: The run's.
            on_unfinished: See `resume`.
            approval: Whether it goes on from calls that waited for approval.

        Raises:
            SessionError: There is a run to resume first, or a call of it has no end and is to `fail`.
            SessionBusyError: Another runner has it.
        """
        if on_unfinished not in (None, "run_again", "report", "fail"):
            raise InputError(f"on_unfinished is {on_unfinished!r}: use 'run_again', 'report' or 'fail'")
        if self._lease is None:
            self.store.database.check_free(self.id)
        with self.store.database.reading() as database:
            version, architecture, stop = last_run(database, self.id)
            lines, interrupted = tuple(lines_of(database, self.id)), interrupted_of(database, self.id)
        if (stop == "approval") != approval:
            how = (
                f"agent.resume_sync(session.result.pending, {{…}}, session={self.id!r}), or `loraloop sessions resume`"
            )
            why = f"waits for approval: {how}" if stop == "approval" else f"is {self.state}: no call waits for approval"
            raise SessionError(f"session {self.id!r} {why}")
        if interrupted is not None and prompt.strip():
            raise SessionError(
                f"a run of session {self.id!r} was interrupted: resume it first (run it without a prompt), or end "
                "it as it is: session.give_up(), or `loraloop sessions give-up`"
            )
        if interrupted is not None and on_unfinished == "fail" and (open_calls := self.unfinished):
            listed = ", ".join(f"{call.name} in step {call.step}" for call in open_calls)
            raise SessionError(
                f"session {self.id!r} was interrupted during calls that may have run: {listed}. Find out, then resume "
                "it with on_unfinished='run_again' or 'report'"
            )
        return SessionJournal(
            store=self.store.database,
            session=self.id,
            title=self._title,
            version=version,
            lines=lines,
            interrupted=interrupted,
            on_unfinished=on_unfinished,
            architecture=architecture,
            lease=self._take_lease,
        )

    def _take_lease(self) -> Lease:
        """The right to run the session, which is this object's once."""
        lease, self._lease = self._lease or self.store.database.lease(self.id), None
        return lease

    @contextmanager
    def _alone(self) -> Iterator[str]:
        lease = self._take_lease()
        try:
            yield lease.owner
        finally:
            lease.release()


def _run_by(runner: Runner | None, info: SessionInfo) -> SessionInfo:
    """The session, which somebody runs now, or nobody."""
    return info if runner is None else replace(info, state="running", pid=runner.pid or None, host=runner.host)
