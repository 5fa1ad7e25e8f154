"""Making traces: a hook that leaves a document of each run, in memory or in a file."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any

from loraloop.agent.events import (
    ApprovalRequested,
    Event,
    RunFinished,
    StepFinished,
    TokenGenerated,
    ToolCallFinished,
    ToolCallStarted,
)
from loraloop.agent.hooks import Follower, RunFacts, RunHook
from loraloop.agent.tracing.provenance import runtime_used
from loraloop.agent.tracing.trace import SCHEMA, EventRecord, RunEnd, SettingsUsed, ToolUsed, Trace, taken
from loraloop.agent.values.result import RunResult
from loraloop.agent.values.step import Step, plain
from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.folders import writable_folder

if TYPE_CHECKING:
    from loraloop.agent.guard.guard import Guard
    from loraloop.agent.job import Job
    from loraloop.agent.values.output_type import OutputType
    from loraloop.agent.values.policy import Policy

GIVEN_UP = "the run was given up before its end"


class Tracer(RunHook):
    """Makes a `Trace` of each run of the agents that have it among their `hooks`. Safe between threads.

    Args:
        path: Where traces are written, each when its run ends: a file such as ``run.json``, for the last run, or a
            folder, for a file a run. What is not there is a folder if it ends with a slash or has no suffix. None:
            nowhere.
        content: Whether traces hold texts, arguments and results; without them they cannot be replayed.
        mask: Let over every text of users, tools and the model, to hide secrets.
        keep: Traces that are kept in memory, the newest.

    Raises:
        InputError: `keep` is negative, there is a mask for contents that are left out, or nothing can be written there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        content: bool = True,
        mask: Callable[[str], str] | None = None,
        keep: int = 16,
    ) -> None:
        if keep < 0:
            raise InputError(f"keep is {keep}: give the most traces that are kept in memory, or 0")
        if mask is not None and not content:
            raise InputError("mask has no effect beside content=False: give one of them")
        self.path = None if path is None else Path(path)
        self._folder = path is not None and (
            os.fspath(path).endswith((os.sep, "/")) or not (Path(path).suffix or Path(path).exists())
        )
        if self.path is not None:
            folder = self.path if self._folder or self.path.is_dir() else self.path.parent
            writable_folder(folder, f"cannot write traces to {self.path}", ": give another place")
        self._content = content
        self._mask = mask
        self._traces: deque[Trace] = deque(maxlen=keep)
        self._lock = Lock()

    @property
    def traces(self) -> tuple[Trace, ...]:
        """The newest traces, the oldest of them first."""
        with self._lock:
            return tuple(self._traces)

    @property
    def last(self) -> Trace:
        """The newest trace.

        Raises:
            InputError: There is none yet.
        """
        with self._lock:
            if self._traces:
                return self._traces[-1]
        raise InputError("there is no trace yet: run an agent that has this tracer among its hooks")

    def begin(self, run: RunFacts) -> Follower:
        """Follows one run."""
        return TraceOfRun(run, self._made)

    def _made(self, trace: Trace) -> None:
        if not self._content:
            trace = trace.without_contents()
        elif self._mask is not None:
            trace = trace.masked(self._mask)
        with self._lock:
            self._traces.append(trace)
        if self.path is not None:
            if self._folder:
                self.path.mkdir(parents=True, exist_ok=True)
            trace.save(self.path)


class TraceOfRun(Follower):
    """Notes what happens in one run and hands the trace over at its end.

    Args:
        run: What begins.
        made: Takes the trace, once.
    """

    def __init__(self, run: RunFacts, made: Callable[[Trace], None]) -> None:
        self._run = run
        self._made = made
        self._started = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._start = perf_counter()
        self._events: list[EventRecord] = []
        self._steps: list[Step] = []
        self._finished = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, TokenGenerated):
            return
        self._events.append(happened(event, round((perf_counter() - self._start) * 1e3, 3)))
        if isinstance(event, StepFinished):
            self._steps.append(event.step)
        elif isinstance(event, RunFinished):
            self._hand_over(event.result, "")

    def over(self, error: BaseException | None) -> None:
        if not self._finished:
            given_up = error is None or isinstance(error, GeneratorExit)
            self._hand_over(None, GIVEN_UP if given_up else f"{type(error).__name__}: {error}")

    def _hand_over(self, result: RunResult[Any] | None, error: str) -> None:
        self._finished = True
        run, job = self._run, self._run.job
        trace = Trace(
            schema=SCHEMA,
            run_id=run.run_id,
            started=self._started,
            runtime=runtime_used(run.runtime),
            tools=tuple(taken(ToolUsed, tool) for tool in job.tools),
            settings=settings_used(job, run.seed),
            prompt=job.prompt,
            messages=job.messages,
            passages=job.passages,
            steps=tuple(map(data_only, self._steps if result is None else result.steps)),
            events=tuple(self._events),
            end=None if result is None else taken(RunEnd, result, value=plain(result.value)),
            error=error,
        )
        self._made(trace)


def happened(event: Event, at: float) -> EventRecord:
    """An event without what the steps and the end of a trace say as well."""
    data: dict[str, Any] = {}
    step = getattr(event, "step", None)
    if isinstance(event, ToolCallStarted):
        data = {"name": event.name}
    elif isinstance(event, ToolCallFinished):
        data = {"name": event.call.name, "ms": event.call.ms}
    elif isinstance(event, ApprovalRequested):
        data = {"calls": [call.name for call in event.calls]}
    elif isinstance(event, StepFinished):
        step = event.step.index
    elif not isinstance(event, RunFinished):
        data = dict(plain(event))
        for name in ("run_id", "step", "prompt", "text"):
            data.pop(name, None)
        if isinstance(data.get("compaction"), dict):
            data = {name: data["compaction"][name] for name in ("before", "after")}
    return EventRecord(at, event.type, step, data)


def data_only(step: Step) -> Step:
    """A step whose calls' arguments and results are JSON data."""
    calls = tuple(replace(each, arguments=plain(each.arguments), result=plain(each.result)) for each in step.calls)
    return replace(step, calls=calls) if calls else step


def settings_used(job: Job, seed: int | None) -> SettingsUsed:
    """What a run was run under."""
    sampling = {**plain(job.sampling), "seed": seed if job.sampling.seed is None else job.sampling.seed}
    return SettingsUsed(
        limits=dict(plain(job.limits)),
        policy=_settings(job.policy),
        sampling=sampling,
        guard=_settings(job.guard),
        output=_output(job.output),
        python=job.python is not None,
    )


def _settings(settings: Policy | Guard) -> dict[str, Any]:
    values = {each.name: getattr(settings, each.name) for each in fields(settings)}
    return {name: _function(value) if callable(value) else plain(value) for name, value in values.items()}


def _function(value: Any) -> dict[str, str]:
    """The JSON form of a function: its name."""
    return {"function": str(getattr(value, "__qualname__", type(value).__qualname__))}


def is_function(value: Any) -> bool:
    """Whether a setting of a trace is the JSON form of a function."""
    return isinstance(value, dict) and set(value) == {"function"}


def _output(output: OutputType[Any]) -> dict[str, Any] | None:
    term = output.term
    return None if term is None else {"kind": type(term).__name__, **plain(term)}
