"""Runs of hosted agents: their events as they come, calls that wait for somebody, and what is kept of them."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.integrations.in_thread import in_thread
from loraloop.server.errors import ApiError, api_error
from loraloop.tool_schemas.errors import InputError, SessionError
from loraloop.tool_schemas.jsontext import dumps

if TYPE_CHECKING:
    from loraloop.agent import Agent, PendingRun, RunStream
    from loraloop.agent.events import Event
    from loraloop.agent.sessions.sessions import Sessions
    from loraloop.agent.values.result import RunResult
    from loraloop.agent.values.step import Step

log = logging.getLogger("loraloop.server")
KEPT = 200
"""Runs that are over of which events and results are kept."""
WAITING = 100
"""Runs of one owner that may wait for approval at the same time."""
_SECONDS = 1.0  # between two looks whether another server was told to cancel a run that goes on here
_OVER = "state IN ('finished', 'failed')"
_PRUNE = f"""
DELETE FROM hosted_runs WHERE id IN (
    SELECT id FROM (SELECT id, started, row_number() OVER (PARTITION BY owner ORDER BY started DESC) AS place
        FROM hosted_runs WHERE {_OVER}) AS ranked
    ORDER BY place DESC, started LIMIT ?)
"""


@dataclass(frozen=True, slots=True)
class HostedAgent:
    """An agent that the server runs, and what is told of it."""

    name: str
    agent: Agent[Any, Any]
    description: str = ""

    def document(self) -> dict[str, Any]:
        """The fields that clients see."""
        tools = [
            {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
            for tool in self.agent.tools
        ]
        return {"name": self.name, "description": self.description, "tools": tools}


def owner_of(key: str) -> str:
    """What is kept of a key, or of an address, to know its runs again."""
    return sha256(key.encode()).hexdigest()[:32]


@dataclass(slots=True)
class HostedRun:
    """A run of a hosted agent.

    Attributes:
        id: The run's.
        agent: Name of the agent.
        owner: Hash of whose run it is; see `owner_of`.
        prompt: What was asked.
        session: Name of the session that it is in, as its owner calls it; empty for none.
        started: Seconds since 1970.
        state: `running`, `waiting`, `finished` or `failed`.
        events: All so far, as documents.
        result: The result's document, when it is there.
        pending: What waits for approval.
        stream: What is being read.
        cancelled: Whether it has to end: as soon as it is read, if it still waits for its turn.
    """

    id: str
    agent: str
    owner: str
    prompt: str
    session: str = ""
    started: float = field(default_factory=time.time)
    state: str = "running"
    events: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] | None = None
    pending: PendingRun | None = None
    stream: RunStream[Any] | None = None
    cancelled: bool = False

    def summary(self) -> dict[str, Any]:
        """A line of a list of runs."""
        result = self.result or {}
        skills = [event["skill"] for event in self.events if event["type"] == "Routed"]
        return {
            "id": self.id,
            "agent": self.agent,
            "prompt": self.prompt,
            "started": self.started,
            "state": self.state,
            "stop_reason": result.get("stop_reason"),
            "ms": result.get("ms"),
            "skills": skills,
        }

    def load(self, own: bool) -> dict[str, Any]:
        """The fields of a run that clients see while it goes on: no texts, for those to whom it does not belong."""
        load = self.summary()
        known = {name: load[name] for name in ("agent", "started", "skills")}
        return {**known, "seconds": time.time() - self.started, "prompt": self.prompt if own else ""}

    def document(self) -> dict[str, Any]:
        """The whole run."""
        return {**self.summary(), "events": self.events, "result": self.result}


class RunRegistry:
    """The last runs, and those that wait for approval, of all servers that share a database.

    A run's events are in the database from its end on, or from when it waits; while it goes on, only its own server
    has them. The methods may wait for the database: call them from a thread.

    Args:
        sessions: The database; None: in memory.
    """

    def __init__(self, sessions: Sessions | None = None) -> None:
        from loraloop.agent.sessions.sqlite import SessionFile

        self._database = sessions.database if sessions is not None else SessionFile(None)
        self._server = secrets.token_hex(8)
        # No session can have such a name: names are printable.
        self._lease = sessions.database.lease(f"\n{self._server}") if sessions is not None else None
        self._here: dict[str, HostedRun] = {}  # those that go on here, or that the database would not take
        self._lock = threading.Lock()
        self._stopping = False

    @property
    def here(self) -> list[HostedRun]:
        """The runs that go on in this server."""
        return [run for run in list(self._here.values()) if run.state == "running"]

    def add(self, run: HostedRun) -> None:
        """Keeps a run. Where too many are kept, the oldest that is over goes, of the owner with most of them."""
        if run.state == "running":
            self._here[run.id] = run
        self._save(run)

    def of(self, owner: str) -> list[dict[str, Any]]:
        """Summaries of the last runs of an owner, the newest first."""
        with self._database.reading() as database:
            statement = "SELECT id, state, server, summary FROM hosted_runs WHERE owner = ?"
            rows = database.execute(statement, (owner,)).fetchall()
        states = self._states(rows)
        found = {row[0]: json.loads(row[3]) | {"state": states[row[0]]} for row in rows}
        found |= {run.id: run.summary() for run in list(self._here.values()) if run.owner == owner}
        return sorted(found.values(), key=lambda each: (-each["started"], each["id"]))

    def get(self, run_id: str, owner: str) -> HostedRun:
        """A run of this owner.

        Raises:
            ApiError: 404, there is none.
        """
        from loraloop.agent.sessions.rows import loaded
        from loraloop.agent.values.checkpoint import Checkpoint

        run = self._here.get(run_id)
        if run is None:
            with self._database.reading() as database:
                statement = "SELECT id, state, server, owner, started, body FROM hosted_runs WHERE id = ?"
                row = database.execute(statement, (run_id,)).fetchone()
            if row is not None:
                body, state = json.loads(row[5]), self._states([row])[run_id]
                pending = body.pop("pending")
                if pending is not None and state == "waiting":
                    pending = loaded(Checkpoint, dumps(pending), f"the run {run_id}")
                run = HostedRun(run_id, owner=row[3], started=row[4], state=state, pending=pending, **body)
        if run is None or run.owner != owner:
            raise ApiError(404, f"there is no run {run_id!r}", "run_not_found")
        return run

    def check_waiting(self, owner: str) -> None:
        """Checks that an owner may have one more run that waits for approval.

        Raises:
            ApiError: 429, too many do.
        """
        with self._database.reading() as database:
            statement = "SELECT count(*) FROM hosted_runs WHERE owner = ? AND state = 'waiting'"
            (count,) = database.execute(statement, (owner,)).fetchone()
        if count >= WAITING:
            message = (
                f"you already have {WAITING} runs that wait for approval: decide about their calls, or cancel them"
            )
            raise ApiError(429, message, "too_many_waiting", "", 2)

    def take(self, run: HostedRun) -> PendingRun:
        """Takes a run that waits for approval, so that nobody else decides about it: what it waits with.

        Raises:
            ApiError: 409, it does not wait, or somebody else was faster.
        """
        with self._lock:
            with self._database.writing() as database:
                statement = "UPDATE hosted_runs SET state = 'running', server = ? WHERE id = ? AND state = 'waiting'"
                taken = database.execute(statement, (self._server, run.id)).rowcount == 1
            pending, run.pending = run.pending, None
            if pending is None or not (taken or self._here.get(run.id) is run):
                raise ApiError(409, f"run {run.id} does not wait for approval", "not_waiting")
            self._here[run.id] = run
            run.state = "running"
        return pending

    def waits(self, run: HostedRun, pending: PendingRun, result: dict[str, Any] | None) -> None:
        """Keeps a run that waits for approval, as it did before, or as its session knows."""
        run.result, run.pending, run.state, run.cancelled = result, pending, "waiting", False
        self._save(run)

    def drop(self, run: HostedRun) -> None:
        """Ends a run that was taken; none of its calls runs."""
        run.pending, run.state = None, "finished"
        run.result = {**(run.result or {}), "stop_reason": "stopped", "pending": None}
        self._save(run)

    def cancel(self, run: HostedRun) -> None:
        """Ends a run that goes on, here or in another server, at its next token."""
        run.cancelled = True
        if run.stream is not None:
            run.stream.cancel()
        if self._here.get(run.id) is run:
            return
        with self._database.writing() as database:
            statement = "UPDATE hosted_runs SET state = 'cancelling' WHERE id = ? AND state = 'running'"
            database.execute(statement, (run.id,))

    def lost(self, result: RunResult[Any]) -> bool:
        """Whether nobody waits with a run that its session knows to wait: a server was killed, or a disk was full."""
        here = self._here.get(result.run_id)
        if here is not None:
            return here.state == "failed"
        with self._database.reading() as database:
            statement = "SELECT id, state, server FROM hosted_runs WHERE id = ?"
            rows = database.execute(statement, (result.run_id,)).fetchall()
        return self._states(rows).get(result.run_id, "failed") == "failed"

    def stop(self) -> None:
        """Ends what runs at its next token."""
        self._stopping = True

    def close(self) -> None:
        """Lets other servers know that this one has ended."""
        if self._lease is not None:
            with suppress(SessionError):
                self._lease.release()
                self._database.forget(f"\n{self._server}")

    def check_going_on(self, session: str = "") -> None:
        """Checks that what runs, perhaps in a session, may go on.

        Raises:
            ApiError: 503, the server is shutting down.
        """
        if self._stopping:
            advice = ": go on with the session and resume: true when it is back" if session else ""
            raise ApiError(503, f"the server is shutting down{advice}", "shutting_down")

    async def events(
        self, run: HostedRun, stream: RunStream[Any], count: Callable[[Sequence[Step], str, bool], object]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Reads a run's events to their end, and keeps what it comes to. Who stops reading, cancels the run.

        Each step is counted when it is over: a run that waited for approval has some that were counted before.

        Raises:
            Exception: A new run cannot begin. What fails later is an event.
        """
        from loraloop.agent.events import StepFinished

        run.state, run.stream, run.pending, run.result = "running", stream, None, None
        if run.cancelled:
            stream.cancel()
        last = next((event["step"]["skill"] for event in reversed(run.events) if event["type"] == "StepFinished"), "")
        try:
            async with aclosing(in_thread(self._going_on(run, stream), stream.cancel)) as events:
                async for event in events:
                    document = event.to_dict()
                    run.events.append(document)
                    if isinstance(event, StepFinished):
                        count([event.step], last, False)
                        last = event.step.skill
                    if not run.id:
                        run.id, run.prompt = event.run_id, document["prompt"]  # of one that is resumed, its own
                        await asyncio.to_thread(self.add, run)
                    yield document
            result = stream.result
            run.result, run.pending = result.to_dict(), result.pending
            run.state = "waiting" if result.pending is not None else "finished"
            count((), "", result.stop_reason == "refused")
        except Exception as error:
            run.state = "failed"
            if not run.id:
                raise
            document = {"type": "RunFailed", "run_id": run.id, **api_error(error).document()}
            run.events.append(document)
            yield document
        finally:
            run.stream = None
            if run.state == "running":
                run.state = "failed"
            if run.id:
                await asyncio.shield(asyncio.to_thread(self._save, run, own=True))

    def _going_on(self, run: HostedRun, stream: RunStream[Any]) -> Iterator[Event]:
        """A run's events. One that has to stop is left as by a process that dies: its session is interrupted."""
        self._heed(run, stream)
        looked = time.monotonic()
        for event in stream:
            yield event
            try:
                self.check_going_on(run.session)
            except ApiError:
                stream.close()
                raise
            if time.monotonic() - looked > _SECONDS:
                looked = time.monotonic()
                self._heed(run, stream)

    def _heed(self, run: HostedRun, stream: RunStream[Any]) -> None:
        """Cancels a run of which another server was told that it has to end."""
        if self._lease is not None:
            with suppress(SessionError), self._database.reading() as database:
                row = database.execute("SELECT state FROM hosted_runs WHERE id = ?", (run.id,)).fetchone()
                if row == ("cancelling",):
                    stream.cancel()

    def _states(self, rows: Sequence[Any]) -> dict[str, str]:
        """The states of rows (id, state, server, …) by id. A run of a server that has ended has failed."""
        going = {id: f"\n{server}" for id, state, server, *_ in rows if state in ("running", "cancelling")}
        others = set(going.values()) - {f"\n{self._server}"}
        dead = others - self._database.runners(others).keys() if others else set()
        states = {id: "failed" if server in dead else "running" for id, server in going.items()}
        return {row[0]: states.get(row[0], row[1]) for row in rows}

    def _save(self, run: HostedRun, own: bool = False) -> None:
        """Writes a run. One that goes on, or that the database does not take, stays in memory too.

        Args:
            run: The run.
            own: Whether to leave alone what has become of it at another server, which took its session over.
        """
        going = run.state == "running"
        content: dict[str, Any] = {"agent": run.agent, "prompt": run.prompt, "session": run.session}
        content |= {"events": run.events, "result": run.result, "pending": run.pending}
        summary, body = dumps(run.summary()), dumps(content)
        values = (run.id, run.owner, run.state, self._server, run.started, summary, body)
        try:
            with self._database.writing() as database:
                database.execute(
                    "INSERT INTO hosted_runs (id, owner, state, server, started, summary, body) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state, "
                    "server = excluded.server, summary = excluded.summary, body = excluded.body"
                    + " WHERE hosted_runs.server = excluded.server"
                    * own,
                    values,
                )
                (over,) = database.execute(f"SELECT count(*) FROM hosted_runs WHERE {_OVER}").fetchone()
                if over > KEPT:
                    database.execute(_PRUNE, (over - KEPT,))
        except SessionError as error:
            log.warning(
                "run %s is %s, and a restart forgets it unless it is in a session: %s", run.id, run.state, error
            )
            self._here[run.id] = run
            return
        if not going:
            self._here.pop(run.id, None)


def take_up_files(registry: RunRegistry, folder: Path) -> None:
    """Moves runs that a server of loraloop 0.2 left waiting into the database: each was a file of the state folder."""
    from loraloop.agent import PendingRun

    for file in folder.glob("*.json"):
        try:
            content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            pending = PendingRun.from_json(json.dumps(content.pop("pending")))
            run = HostedRun(file.stem, **content)
            registry.waits(run, pending, run.result)
            file.unlink()
        except (InputError, ValueError, TypeError, KeyError) as error:  # of another version, or signed with another key
            log.warning("%s is not taken up: %s", file, error)
