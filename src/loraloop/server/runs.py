"""Runs of hosted agents: their events as they come, calls that wait for somebody, and what is kept of them."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.integrations.in_thread import in_thread
from loraloop.server.errors import ApiError, api_error
from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.agent import Agent, PendingRun, RunStream
    from loraloop.agent.events import Event
    from loraloop.agent.result import RunResult
    from loraloop.agent.step import Step

log = logging.getLogger("loraloop.server")
KEPT = 200
"""Runs that are over of which events and results are kept in memory."""
WAITING = 100
"""Runs of one owner that may wait for approval at the same time."""
_LONGEST = 64  # characters of a run's id


@dataclass(frozen=True, slots=True)
class HostedAgent:
    """An agent that the server runs, and what is told of it."""

    name: str
    agent: Agent[Any, Any]
    description: str = ""

    def document(self) -> dict[str, Any]:
        """What clients are told."""
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
        """What is told of a run while it goes on: to whom it does not belong, nothing of what was said."""
        told = self.summary()
        known = {name: told[name] for name in ("agent", "started", "skills")}
        return {**known, "seconds": time.time() - self.started, "prompt": self.prompt if own else ""}

    def document(self) -> dict[str, Any]:
        """The whole run."""
        return {**self.summary(), "events": self.events, "result": self.result}


class RunRegistry:
    """The last runs, and those that wait for approval.

    Args:
        folder: Where runs that wait are kept as files, so that they go on after a restart; None: in memory alone.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._runs: OrderedDict[str, HostedRun] = OrderedDict()
        self._folder = folder
        self._stopping = False
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for file in sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime):
                self._read(file)

    def __iter__(self) -> Iterator[HostedRun]:
        return iter(reversed(self._runs.values()))

    def add(self, run: HostedRun) -> None:
        """Keeps a run. Where too many are kept, the oldest that is over goes, of the owner with most of them."""
        self._runs[run.id] = run
        over = [each for each in self._runs.values() if each.state in ("finished", "failed")]
        counts = Counter(each.owner for each in over)
        for _ in range(len(over) - KEPT):
            most = max(counts.values())
            old = next(each for each in over if counts[each.owner] == most and each.id in self._runs)
            del self._runs[old.id]
            counts[old.owner] -= 1

    def of(self, owner: str) -> list[HostedRun]:
        """The last runs of an owner, the newest first."""
        return [run for run in self if run.owner == owner]

    def check_waiting(self, owner: str) -> None:
        """Checks that an owner may have one more run that waits for approval.

        Raises:
            ApiError: 429, too many do.
        """
        if sum(run.pending is not None for run in self.of(owner)) >= WAITING:
            said = f"you already have {WAITING} runs that wait for approval: decide about their calls, or cancel them"
            raise ApiError(429, said, "too_many_waiting", "", 2)

    def waits(self, run: HostedRun, result: RunResult[Any]) -> None:
        """Takes up a run whose session knows that it waits for approval."""
        run.result, run.pending, run.state = result.to_dict(), result.pending, "waiting"
        self._runs[run.id] = run
        self._write(run)

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._runs

    def drop(self, run: HostedRun) -> None:
        """Ends a run that waits for approval; none of its calls runs."""
        run.pending, run.state = None, "finished"
        self._write(run)

    def get(self, run_id: str, owner: str) -> HostedRun:
        """A run of this owner.

        Raises:
            ApiError: 404, there is none.
        """
        run = self._runs.get(run_id)
        if run is None or run.owner != owner:
            raise ApiError(404, f"there is no run {run_id!r}", "run_not_found")
        return run

    def stop(self) -> None:
        """Ends what runs at its next token."""
        self._stopping = True

    def check_going_on(self, session: str = "") -> None:
        """Checks that what runs, perhaps in a session, may go on.

        Raises:
            ApiError: 503, the server is shutting down.
        """
        if self._stopping:
            said = ": go on with the session and resume: true when it is back" if session else ""
            raise ApiError(503, f"the server is shutting down{said}", "shutting_down")

    async def events(
        self, run: HostedRun, stream: RunStream[Any], count: Callable[[Sequence[Step], str, bool], object]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Reads a run's events to their end, and keeps what it comes to. Who stops reading, cancels the run.

        Each step is counted when it is over: a run that waited for approval has some that were counted before.

        Raises:
            Exception: A new run cannot begin. What fails later is an event.
        """
        from loraloop.agent.events import StepFinished

        run.state, run.stream, run.pending = "running", stream, None
        last = next((event["step"]["skill"] for event in reversed(run.events) if event["type"] == "StepFinished"), "")
        try:
            async with aclosing(in_thread(self._going_on(run, stream), stream.cancel)) as events:
                async for event in events:
                    document = event.to_dict()
                    run.events.append(document)
                    if isinstance(event, StepFinished):
                        count([event.step], last, False)
                        last = event.step.skill
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
            self._write(run)

    def _going_on(self, run: HostedRun, stream: RunStream[Any]) -> Iterator[Event]:
        """A run's events. One that has to stop is left as by a process that dies: its session is interrupted."""
        for event in stream:
            yield event
            try:
                self.check_going_on(run.session)
            except ApiError:
                stream.close()
                raise

    def _file(self, run_id: str) -> Path | None:
        if self._folder is None or not run_id.isalnum() or len(run_id) > _LONGEST:
            return None
        return self._folder / f"{run_id}.json"

    def _write(self, run: HostedRun) -> None:
        """Keeps a run that waits as a file, which goes when the run has gone on."""
        file = self._file(run.id)
        if file is None:
            return
        try:
            if run.pending is None:
                file.unlink(missing_ok=True)
            else:
                self._write_waiting(run, run.pending, file)
        except OSError as error:
            log.warning("run %s waits, and a restart forgets it unless it is in a session: %s", run.id, error)

    def _write_waiting(self, run: HostedRun, pending: PendingRun, file: Path) -> None:
        content = {
            "agent": run.agent,
            "owner": run.owner,
            "prompt": run.prompt,
            "session": run.session,
            "started": run.started,
            "events": run.events,
            "result": run.result,
            "pending": json.loads(pending.to_json()),
        }
        scratch = file.with_suffix(".part")
        scratch.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        scratch.chmod(0o600)
        scratch.replace(file)

    def _read(self, file: Path) -> None:
        """Takes up a run that an earlier server left waiting."""
        from loraloop.agent import PendingRun

        try:
            content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            pending = PendingRun.from_json(json.dumps(content.pop("pending")))
            self._runs[file.stem] = HostedRun(file.stem, **content, state="waiting", pending=pending)
        except (InputError, ValueError, TypeError, KeyError) as error:  # of another version, or signed with another key
            log.warning("%s is not taken up: %s", file, error)
