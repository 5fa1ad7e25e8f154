"""Letting a system do tasks: a run for each turn, and what of it is judged."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from loraloop.agent.agent import Agent
from loraloop.agent.limits import Limits
from loraloop.agent.result import CallRecord, RunResult
from loraloop.evals.agent_check import Runs, passes
from loraloop.evals.agent_systems import Right, System
from loraloop.evals.held_out_requests import BY_NAME
from loraloop.evals.tasks import Call, Said, Task
from loraloop.router.decision import NONE
from loraloop.tool_schemas.errors import LoraloopError

if TYPE_CHECKING:
    from loraloop.agent.runtime import Runtime

LIMITS = Limits(max_steps=8, step_tokens=160, run_tokens=640)
CODE_LIMITS = Limits(max_steps=8, step_tokens=256, run_tokens=640)
_KINDS = {"text": "text", "answer": "answer", "code": "code", "unsafe": "refusal"}


def do(system: System, task: Task, runs: Runs) -> dict[str, Any]:
    """A system's row for a task: whether it is right, why not, and what was said and done; JSON values."""
    start = time.perf_counter()
    forget(system.runtime)  # what a row holds depends on no other task
    said: list[Said] = []
    traces: list[list[dict[str, Any]]] = []
    messages: Sequence[Any] = ()
    problem = ""
    for turn in task.turns:
        driver = system.driver(Right(sum(map(len, turn.end.calls)), turn.finish))
        agent = Agent(
            system.runtime,
            [BY_NAME[name].tool for name in task.tools],
            task.instructions,
            limits=CODE_LIMITS if turn.end.kind == "code" else LIMITS,
            policy=driver.policy,
            guard=driver.guard,
        )
        try:
            result = agent.run_sync(turn.prompt, passages=turn.passages, messages=messages)
        except LoraloopError as error:  # a step that does not fit
            problem = str(error)
            break
        said.append(said_of(result, system.runtime))
        traces.append(trace_of(result))
        messages = result.messages
    reason, turn_at = passes(task, said, runs)
    row: dict[str, Any] = {
        "right": not reason,
        "reason": reason,
        "turn": turn_at,
        "steps": traces,
        "output": [each.output for each in said],
        "stop": [each.stop for each in said],
        "seconds": round(time.perf_counter() - start, 3),
    }
    return row | ({"problem": problem} if problem else {})


def said_of(result: RunResult[Any], runtime: Runtime) -> Said:
    """What is judged of a run."""
    tried = [[call for call in step.calls if not call.repeated] for step in result.steps]
    served = [[call for call in calls if call.error is None] for calls in tried]
    last = result.steps[-1] if result.steps else None
    kind = "other" if last is None else _KINDS.get(last.outcome, "other")
    if last is not None and last.outcome == "truncated" and last.kept:
        code = last.skill != NONE and last.skill in runtime.with_contract("code")
        kind = "code" if code else "text"
    return Said(result.stop_reason, kind, result.output, _stages(served), tuple(result.citations), _stages(tried))


def _stages(steps: Sequence[Sequence[CallRecord]]) -> tuple[tuple[Call, ...], ...]:
    return tuple(tuple({"name": c.name, "arguments": c.arguments} for c in calls) for calls in steps if calls)


def trace_of(result: RunResult[Any]) -> list[dict[str, Any]]:
    """What each step was: skill, who decided, how it ended, and its calls."""
    return [
        {"skill": step.skill, "by": step.decided_by, "outcome": step.outcome}
        | (
            {"calls": [[c.name, c.arguments, *([c.error] if c.error else [])] for c in step.calls]}
            if step.calls
            else {}
        )
        for step in result.steps
    ]


def forget(runtime: Runtime) -> None:
    """Drops caches of earlier transcripts: a row then depends on its task alone, whatever was done before."""
    runtime.store.clear()
    runtime.full.clear()
