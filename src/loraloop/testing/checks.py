"""Assertions on what a run did; each failure shows the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from loraloop.tool_schemas.jsontext import dumps

if TYPE_CHECKING:
    from loraloop.agent.values.calls import CallRecord
    from loraloop.agent.values.result import RunResult
    from loraloop.tool_schemas.tools.calls import Call

Made: TypeAlias = "Call | CallRecord"
"""A call that the caller has to run, or one that ran: its tool and its arguments."""


def assert_routes(result: RunResult[Any], skills: Sequence[str]) -> None:
    """Raises AssertionError unless the run's steps ran on these skills, in this order.

    Args:
        result: The run's.
        skills: A name for each step, dropped branches, verdicts and repairs included; `none` is the base.
    """
    took = [step.skill for step in result.steps]
    if took == list(skills):
        return
    at = next((i for i, pair in enumerate(zip(took, skills, strict=False)) if pair[0] != pair[1]), None)
    if at is None:
        why = f"the run has {len(took)} steps, not {len(skills)}"
    else:
        why = f"step {at} ran on {took[at]!r}, not on {skills[at]!r}"
    raise AssertionError(f"{why}\n  expected: {', '.join(skills)}\n  run: {', '.join(took)}\n{shown(result)}")


def assert_called(
    result: RunResult[Any],
    name: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    times: int | None = None,
    exactly: bool = False,
) -> tuple[Made, ...]:
    """Raises AssertionError unless a tool was called, and returns these calls.

    Args:
        result: The run's, whose calls for the caller count too.
        name: The tool.
        arguments: What the call's arguments hold, maybe among others; None for any.
        times: How many such calls there are; None for one or more.
        exactly: Whether the arguments hold nothing else.
    """
    every = _calls(result)
    named = [call for call in every if call.name == name]
    fit = [call for call in named if not _unlike(call, arguments, exactly)]
    if (fit and times is None) or times == len(fit):
        return tuple(fit)
    wanted = name if arguments is None else f"{name} with {dumps(dict(arguments))}"
    count = "" if times is None else f" {times} times, but {len(fit)}"
    lines = [f"{wanted} was not called{count}"]
    if not named and every:
        lines.append(f"  there is no call of {name!r} at all")
    lines += [f"  {each.name}({dumps(each.arguments)}){_why(each, name, arguments, exactly)}" for each in every]
    if not every:
        lines.append("  nothing was called")
    raise AssertionError("\n".join([*lines, shown(result)]))


def assert_not_called(result: RunResult[Any], name: str | None = None) -> None:
    """Raises AssertionError if a tool was called; without a name, if any was.

    Args:
        result: The run's.
        name: The tool's.
    """
    wrong = [call for call in _calls(result) if name is None or call.name == name]
    if wrong:
        listed = "\n".join(f"  {each.name}({dumps(each.arguments)})" for each in wrong)
        raise AssertionError(f"{name or 'a tool'} was called:\n{listed}\n{shown(result)}")


def shown(result: RunResult[Any]) -> str:
    """A run's steps, a line each, and how it ended."""
    lines = []
    for step in result.steps:
        dropped = "" if step.kept else ", dropped"
        lines.append(f"  step {step.index}: {step.skill} (by {step.decided_by}) {step.outcome}{dropped}: {step.text!r}")
        if step.error:
            lines.append(f"    invalid: {step.error}")
        for call in step.calls:
            gave = f"error {call.error!r}" if call.error is not None else dumps(call.result)
            lines.append(f"    {call.name}({dumps(call.arguments)}) -> {gave}")
    return "\n".join([*lines, f"  ended: {result.stop_reason}, output {result.output!r}"])


def _calls(result: RunResult[Any]) -> list[Made]:
    return [*(call for step in result.steps for call in step.calls), *result.calls]


def _unlike(call: Made, arguments: Mapping[str, Any] | None, exactly: bool) -> list[str]:
    """How a call's arguments differ from what is wanted."""
    if arguments is None:
        return []
    had = call.arguments
    wrong = [
        f"{key} is {dumps(had[key])}, not {dumps(value)}" if key in had else f"{key} is missing"
        for key, value in arguments.items()
        if key not in had or had[key] != value
    ]
    if exactly:
        wrong += [f"{key} is there too" for key in had if key not in arguments]
    return wrong


def _why(call: Made, name: str, arguments: Mapping[str, Any] | None, exactly: bool) -> str:
    wrong = _unlike(call, arguments, exactly) if call.name == name else []
    return f": {'; '.join(wrong)}" if wrong else ""
