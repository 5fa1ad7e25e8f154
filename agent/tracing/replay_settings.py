"""The settings of a trace as values again, for a run that replays it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from loraloop.agent.guard.guard import Gate, Guard
from loraloop.agent.tracing.tracer import is_function
from loraloop.agent.values.calls import Approval, Approve, Deny
from loraloop.agent.values.output_type import OutputType
from loraloop.agent.values.policy import ALL, Policy, Thresholds
from loraloop.tool_schemas.errors import InputError, unknown
from loraloop.tool_schemas.grammar.grammar import Term
from loraloop.tool_schemas.jsontext import adapter

if TYPE_CHECKING:
    from loraloop.agent.tracing.trace import Trace
    from loraloop.agent.values.calls import CallRecord, PendingCall
    from loraloop.agent.values.policy import StepFacts, Wish
    from loraloop.tool_schemas.tools.context import Context

S = TypeVar("S")


def made(kind: type[S], values: Mapping[str, Any]) -> S:
    """Settings from their fields."""
    known = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise unknown(f"field of {kind.__name__}", name, known)
    return kind(**values)


def policy_of(trace: Trace) -> Policy:
    """A trace's policy; what its `decide` or the caller of `Agent.iter` decided is decided again."""
    values = {name: value for name, value in trace.settings.policy.items() if not is_function(value)}
    values.pop("needs_approval", None)
    skills = tuple(values.pop("skills", ()))
    forbid = frozenset(values.pop("forbid", ()))
    thresholds = made(Thresholds, {k: v for k, v in values.pop("thresholds", {}).items() if k != "mix"})  # of 0.2
    by = {"caller", "policy"} if trace.settings.policy.get("decide") else {"caller"}
    decided = {step.index: step.skill for step in trace.steps if step.decided_by in by}

    def decide(facts: StepFacts) -> Wish:
        return decided.get(facts.index)

    again = made(Policy, {**values, "skills": skills, "forbid": forbid, "thresholds": thresholds})
    return replace(again, decide=decide if decided else None)


def approving(trace: Trace, policy: Policy, live: bool) -> Policy:
    """The policy, which says of each call what was said of it.

    Where tools run, that is what was said of exactly this call; any other waits as the policy has it.
    """
    records = [record for step in trace.steps for record in step.calls]
    waited = frozenset(record.name for record in records if record.approval)
    if paused := trace.end is not None and trace.end.stop_reason == "approval":
        waited = frozenset({ALL})  # the calls of the last step wait again
    recorded = {record.id: record for record in records if live or waited & {ALL, record.name}}

    def approve(call: PendingCall, context: Context[Any]) -> Any:
        record = recorded.get(call.id)
        if record and (not live or (record.approval and _written(record) == (call.name, call.arguments))):
            return _approval(record)
        if live:
            return None if policy.approve is None else policy.approve(call, context)
        return None if paused else Approve()

    return replace(policy, needs_approval=policy.needs_approval if live else waited, approve=approve)


def _written(record: CallRecord) -> tuple[str, dict[str, Any]]:
    """The call as the model wrote it."""
    return record.name, record.arguments if record.wanted is None else record.wanted


def _approval(record: CallRecord) -> Approval:
    if record.approval == "denied":
        return Deny((record.error or "").removeprefix(Deny().error).removeprefix(": "))
    return Approve(record.arguments if record.approval == "edited" else None)


def guard_of(settings: Mapping[str, Any]) -> Guard:
    """A trace's guard, without its function."""
    values = {name: value for name, value in settings.items() if not is_function(value)}
    for place in ("input", "tools", "output"):
        if isinstance(values.get(place), dict):
            values[place] = made(Gate, values[place])
    if values.get("allow") is not None:
        values["allow"] = frozenset(values["allow"])
    return made(Guard, values)


def output_of(form: Mapping[str, Any] | None) -> OutputType[Any]:
    """The output type of a trace, from its kind and its fields."""
    if form is None:
        return OutputType.of(None)
    kinds = {kind.__name__: kind for kind in get_args(Term)}
    try:
        term = adapter(kinds[form["kind"]]).validate_python({key: form[key] for key in form if key != "kind"})
    except (KeyError, TypeError, ValueError):
        raise InputError(f"the trace has an output type of an unknown kind: {dict(form)!r}") from None
    return OutputType.of(term)
