"""A session's rows in its database: read as values, and the writes that several need."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from loraloop.adapters.base.messages import Message
from loraloop.agent.sessions.store import Transaction
from loraloop.agent.values.calls import CallRecord
from loraloop.agent.values.checkpoint import Checkpoint, Line, PendingStep, RunRequest, RunState
from loraloop.agent.values.result import RunResult
from loraloop.agent.values.step import Step
from loraloop.tool_schemas.errors import SessionBusyError, SessionError
from loraloop.tool_schemas.jsontext import adapter, dumps
from loraloop.tool_schemas.schema.untitled import first_problem
from loraloop.tool_schemas.tools.calls import Call

Place = tuple[int, int, int, int]
"""The place of a call: the key of its session, its run, its step, and its number in the step."""
_PLACE = "session = ? AND run = ? AND step = ? AND number = ?"

SessionState = Literal["idle", "running", "interrupted"]
"""`running` while some process runs it; `interrupted` where its last run has not ended and nobody runs it any more."""


@dataclass(frozen=True, slots=True)
class SessionCall:
    """One call of a tool, as the session knows it.

    Attributes:
        step: Number of the step in its run.
        number: Number of the call in its step, from 0.
        name: The tool.
        arguments: JSON data.
        begun: When it was begun; the last time, if that was more than once.
        ended: When its end was recorded; None if it never was.
        times: How often it was begun.
        record: Result or error of the call; None while it has not ended.
    """

    step: int
    number: int
    name: str
    arguments: dict[str, Any]
    begun: datetime
    ended: datetime | None
    times: int
    record: CallRecord | None

    @property
    def at_least_once(self) -> bool:
        """Whether the call was interrupted: it may have run more often than its record says."""
        return self.times > 1 or self.record is None or self.record.at_least_once


@dataclass(frozen=True, slots=True)
class SessionTurn:
    """One run of a session.

    Attributes:
        number: Number of the run in its session, from 0.
        run_id: Id of the run.
        prompt: What the user said.
        started: Time of its start.
        ended: Time of its end; None if it has not ended.
        stop_reason: Why it ended; empty if it has not.
        steps: The completed ones.
        calls: Calls of the completed steps, and of a step that is not complete.
        result: What it left; None if it has not ended. Only the last turn's has `messages`: those of the session.
    """

    number: int
    run_id: str
    prompt: str
    started: datetime
    ended: datetime | None
    stop_reason: str
    steps: tuple[Step, ...] = ()
    calls: tuple[SessionCall, ...] = ()
    result: RunResult[Any] | None = None


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One session in a list of sessions.

    Attributes:
        id: Name of the session.
        title: What it is about; the beginning of its first prompt, if nobody said.
        created: Time of its first run.
        updated: When something was last written.
        state: See `SessionState`.
        turns: Runs.
        steps: Completed steps.
        calls: Calls of tools.
        pid: The process that runs it; None for none, or if it is not known.
        host: The machine of that process, where others share the database; else empty.
    """

    id: str
    title: str
    created: datetime
    updated: datetime
    state: SessionState
    turns: int = 0
    steps: int = 0
    calls: int = 0
    pid: int | None = None
    host: str = ""


def loaded(kind: Any, text: str, what: str) -> Any:
    """A value of a class, as `dumps` wrote it.

    Raises:
        SessionError: The row is damaged.
    """
    import pydantic

    try:
        return adapter(kind).validate_python(json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        why = str(error).partition("\n")[0]
        if isinstance(error, pydantic.ValidationError):
            why = ": ".join(first_problem(error))
        raise SessionError(
            f"the sessions: {what} is damaged ({why}). session.give_up(), or `loraloop sessions give-up`, keeps "
            "its messages up to the first damaged one and ends an interrupted run; or restore a backup"
        ) from None


def moment(seconds: float) -> datetime:
    """A time of the database; the epoch for one that is damaged."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


def storable(text: str) -> str:
    """A text without what no database takes: zeros, and halves of surrogate pairs."""
    return Message("user", text).content.replace("\0", "\ufffd")


def info_rows(database: Transaction, session: str | None = None) -> list[SessionInfo]:
    """What is known of one session, or of all, the last written first, as if nobody ran any of them now."""
    where = "" if session is None else "WHERE sessions.id = ?"
    rows = database.execute(
        f"""
        SELECT id, title, created, updated,
            (SELECT count(*) FROM runs WHERE session = key), (SELECT count(*) FROM steps WHERE session = key),
            (SELECT count(*) FROM calls WHERE session = key),
            (SELECT count(*) FROM runs WHERE session = key AND ended IS NULL)
        FROM sessions {where} ORDER BY updated DESC, key DESC
        """,
        () if session is None else (session,),
    )
    return [
        SessionInfo(
            id=name,
            title=title,
            created=moment(created),
            updated=moment(updated),
            state="interrupted" if open_runs else "idle",
            turns=turns,
            steps=steps,
            calls=calls,
        )
        for name, title, created, updated, turns, steps, calls, open_runs in rows
    ]


def last_run(database: Transaction, session: str) -> tuple[int, str, str]:
    """A session's version, which grows with every commit; of its last run the base's fingerprint, and why it ended."""
    row = database.execute(
        "SELECT version, asked, stop_reason FROM sessions JOIN runs ON session = key WHERE id = ? "
        "ORDER BY run DESC LIMIT 1",
        (session,),
    ).fetchone()
    if row is None:
        return 0, "", ""
    try:
        architecture: str = loaded(RunRequest, row[1], "what the last run was asked").architecture
    except SessionError:  # the tokens of the transcript are made anew
        architecture = ""
    return row[0], architecture, row[2] or ""


def lines_of(database: Transaction, session: str) -> Iterator[Line]:
    """The transcript, each message with its tokens.

    Raises:
        SessionError: at a damaged message, once those before it were given.
    """
    rows = database.execute(
        "SELECT place, body FROM messages JOIN sessions ON key = session WHERE id = ? ORDER BY place", (session,)
    )
    yield from (loaded(Line, body, f"message {place} of session {session!r}") for place, body in rows)


def turns_of(database: Transaction, session: str) -> tuple[SessionTurn, ...]:
    """The runs with all that is known of them."""
    messages = tuple(message for message, _ in lines_of(database, session))
    rows = database.execute(
        "SELECT run, run_id, asked, started, ended, stop_reason, result FROM runs JOIN sessions ON key = session "
        "WHERE id = ? ORDER BY run",
        (session,),
    ).fetchall()
    turns = []
    for run, run_id, asked, started, ended, stop, result in rows:
        steps = steps_of(database, session, run)
        done = None
        if result is not None:
            final = messages if run == rows[-1][0] else ()
            read = loaded(RunResult, result, f"the result of run {run} of session {session!r}")
            done = replace(read, messages=final, steps=steps)
        over = None if ended is None else moment(ended)
        prompt = loaded(RunRequest, asked, f"the request of run {run} of session {session!r}").prompt
        calls = calls_of(database, session, run)
        turns.append(
            SessionTurn(
                number=run,
                run_id=run_id,
                prompt=prompt,
                started=moment(started),
                ended=over,
                stop_reason=stop or "",
                steps=steps,
                calls=calls,
                result=done,
            )
        )
    return tuple(turns)


def steps_of(database: Transaction, session: str, run: int) -> tuple[Step, ...]:
    """The completed steps of a run."""
    rows = database.execute(
        "SELECT step, body FROM steps JOIN sessions ON key = session WHERE id = ? AND run = ? ORDER BY step",
        (session, run),
    )
    return tuple(loaded(Step, body, f"step {step} of run {run} of session {session!r}") for step, body in rows)


def calls_of(database: Transaction, session: str, run: int) -> tuple[SessionCall, ...]:
    """The calls of a run."""
    rows = database.execute(
        "SELECT step, number, name, arguments, begun, ended, times, record FROM calls JOIN sessions ON key = session "
        "WHERE id = ? AND run = ? ORDER BY step, number",
        (session, run),
    )
    return tuple(
        SessionCall(
            step=step,
            number=number,
            name=name,
            arguments=loaded(dict, arguments, f"the arguments of a call of {name!r} in session {session!r}"),
            begun=moment(begun),
            ended=None if ended is None else moment(ended),
            times=times,
            record=None if record is None else loaded(CallRecord, record, f"a call of {name!r} in session {session!r}"),
        )
        for step, number, name, arguments, begun, ended, times, record in rows
    )


def interrupted_of(database: Transaction, session: str) -> Checkpoint | None:
    """The last run, if it has not ended."""
    row = database.execute(
        "SELECT run, run_id, asked, state, written FROM runs JOIN sessions ON key = session "
        "WHERE id = ? AND ended IS NULL",
        (session,),
    ).fetchone()
    if row is None:
        return None
    run, run_id, asked, state, written = row
    where = f"of run {run} of session {session!r}"
    step, lines = None, tuple(lines_of(database, session))
    if written is not None:
        step, line = loaded(tuple[PendingStep, Line], written, f"the step {where} that was acting")
        lines = (*lines, line)
    return Checkpoint(
        run_id=run_id,
        asked=loaded(RunRequest, asked, f"the request {where}"),
        lines=lines,
        steps=steps_of(database, session, run),
        state=loaded(RunState, state, f"the state {where}"),
        written=step,
    )


def begin(database: Transaction, place: Place, call: Call, now: float) -> None:
    """Notes that a call is about to run.

    Args:
        database: The transaction that writes it.
        place: The place of the call: its session, run, step and number.
        call: Its name and its arguments, which are stored.
        now: The time in seconds since the epoch.
    """
    database.execute(
        "INSERT INTO calls (session, run, step, number, name, arguments, begun, times) VALUES (?, ?, ?, ?, ?, ?, ?, 1)",
        (*place, call.name, dumps(call.arguments), now),
    )


def begin_again(database: Transaction, place: Place, now: float) -> None:
    """Notes that a call that was interrupted is about to run once more."""
    database.execute(f"UPDATE calls SET begun = ?, times = times + 1 WHERE {_PLACE}", (now, *place))


def end(database: Transaction, place: Place, record: CallRecord, now: float) -> None:
    """Notes what a call gave.

    Args:
        database: The transaction that writes it.
        place: The session's key, and the numbers of the run, the step and the call.
        record: What came of the call.
        now: The time in seconds since the epoch.
    """
    database.execute(f"UPDATE calls SET ended = ?, record = ? WHERE {_PLACE}", (now, dumps(record), *place))


def finish(database: Transaction, key: int, run: int, result: RunResult[Any], now: float) -> None:
    """Ends a run. Of its result, messages and steps have rows of their own.

    Args:
        database: The transaction that writes it.
        key: Key of the session's row.
        run: Number of the run in its session, from 0.
        result: How the run ended.
        now: The time in seconds since the epoch.
    """
    database.execute(
        "UPDATE runs SET ended = ?, stop_reason = ?, result = ?, state = NULL, written = NULL "
        "WHERE session = ? AND run = ?",
        (now, result.stop_reason, dumps(replace(result, messages=(), steps=())), key, run),
    )


def transcribe(database: Transaction, key: int, lines: Sequence[Line], same: int) -> None:
    """Makes a session's transcript these lines, of which the first `same` are there.

    Args:
        database: The transaction that writes it.
        key: Key of the session's row.
        lines: The whole transcript.
        same: Number of lines at the beginning that are stored already and stay as they are; what was stored after them
            goes.
    """
    database.execute("DELETE FROM messages WHERE session = ? AND place >= ?", (key, same))
    database.executemany(
        "INSERT INTO messages (session, place, body) VALUES (?, ?, ?)",
        [(key, place, dumps(lines[place])) for place in range(same, len(lines))],
    )


def touch(database: Transaction, key: int, now: float, owner: str) -> None:
    """Notes that a session is written to by the runner that has it. First in its transaction, it keeps others waiting.

    Args:
        database: The transaction that writes it.
        key: Key of the session's row.
        now: The time in seconds since the epoch.
        owner: Name of the runner that writes; the session's row has to have the same.

    Raises:
        SessionBusyError: Another runner has taken the session meanwhile.
    """
    found = database.execute(
        "UPDATE sessions SET updated = ?, version = version + 1 WHERE key = ? AND owner = ?", (now, key, owner)
    )
    if found.rowcount != 1:
        raise SessionBusyError(
            "another runner has taken the session, or it was deleted, while this run went on: its lock was removed, or "
            "ran out. What this run has done since then is not kept in the session",
            None,
        )


def claim(database: Transaction, key: int, owner: str) -> None:
    """Gives a session to a runner; commits of the one that had it fail from now on."""
    database.execute("UPDATE sessions SET owner = ? WHERE key = ?", (owner, key))
