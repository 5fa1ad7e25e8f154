"""What a step's text means for the transcript and for the run: the table of outcomes, as functions of plain values.

| contract | text | stays | next |
|---|---|---|---|
| calls | calls | the text, then each result | route again |
| calls | `[]`, or only calls that were answered already | nothing | route again, this contract masked |
| calls | a call that has no implementation | the text | the run ends, the calls are its output |
| answer | answerable | the text | the run ends, or routes again if the policy says so |
| answer | not answerable | nothing | route again, this contract masked |
| verdict | unsafe | the refusal | the run ends |
| verdict | safe | nothing | go on |
| code | code, with the `python` tool | the text, then what it printed | route again |
| code | code | the text | the run ends |
| text | anything | the text | the run ends |

A step that met a limit is never acted on: a call or a program that was cut short may mean something else.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from loraloop.adapters.contracts import answer_of, code_of, verdict_of
from loraloop.agent.calling import call_key
from loraloop.agent.result import StopReason
from loraloop.tool_schemas.calls import Call, parse_calls
from loraloop.tool_schemas.tools import Tool

PYTHON = "python"
"""The name under which the `python` tool's results stand in the transcript."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What an outcome depends on besides the text.

    Attributes:
        tools: The agent's.
        answered: Keys (`call_key`) of the calls that this run has answered.
        calls_left: Calls that the limits still allow.
        python: Whether code is run.
        repeat: Whether an answered call may run again.
        go_on: Whether the run routes again after a retrieval answer.
        limit: The limit at which generation was cut; None if it ended by itself.
    """

    tools: Sequence[Tool] = ()
    answered: Collection[str] = ()
    calls_left: int = 16
    python: bool = False
    repeat: bool = False
    go_on: bool = False
    limit: StopReason | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to do after a step.

    Attributes:
        name: For the trace.
        keep: Whether the step's text stays in the transcript.
        stop: Why the run ends now; None to route again.
        output: The run's output if it ends.
        calls: What to run, or, with stop reason `tool_call`, what the caller has to run.
        mask: Whether skills of this contract are masked from now on.
        refuse: Whether the refusal is said.
    """

    name: str
    keep: bool
    stop: StopReason | None = None
    output: str = ""
    calls: tuple[Call, ...] = ()
    citations: tuple[str, ...] = ()
    category: str = ""
    mask: bool = False
    refuse: bool = False


def outcome_of(contract: str, text: str, facts: Facts) -> Outcome:
    """Reads a step's text under its contract.

    Raises:
        SchemaError: if the text is not what the contract says (a grammar makes that impossible).
    """
    if facts.limit is not None:
        return Outcome("truncated", keep=contract in ("text", "code"), stop=facts.limit, output=text)
    if contract == "calls":
        return _calls(text, facts)
    if contract == "answer":
        answer = answer_of(text)
        if not answer.answerable:
            return Outcome("not_answerable", keep=False, mask=True)
        if facts.go_on:
            return Outcome("answer", keep=True, citations=answer.citations, output=answer.answer, mask=True)
        return Outcome("answer", keep=True, stop="answer", output=answer.answer, citations=answer.citations)
    if contract == "verdict":
        verdict = verdict_of(text)
        if verdict.unsafe:
            return Outcome("unsafe", keep=False, stop="refused", category=verdict.category, refuse=True)
        return Outcome("safe", keep=False)
    if contract == "code":
        return _code(text, facts)
    return Outcome("text", keep=True, stop="answer", output=text)


def _calls(text: str, facts: Facts) -> Outcome:
    calls = parse_calls(text, facts.tools)
    if not calls:
        return Outcome("no_call", keep=False, mask=True)
    known = {tool.name: tool for tool in facts.tools}
    if not all(known[call.name].executable for call in calls):
        return Outcome("tool_call", keep=True, stop="tool_call", output=text, calls=calls)
    fresh = calls if facts.repeat else [call for call in calls if call_key(call) not in facts.answered]
    if not fresh:
        return Outcome("repeated", keep=False, mask=True)
    if len(fresh) > facts.calls_left:
        return Outcome("calls", keep=False, stop="max_tool_calls", output=text)
    return Outcome("calls", keep=True, calls=calls)


def _code(text: str, facts: Facts) -> Outcome:
    code = code_of(text)
    if not facts.python:
        return Outcome("code", keep=True, stop="code", output=text)
    call = Call(PYTHON, {"code": code})
    if not facts.repeat and call_key(call) in facts.answered:
        return Outcome("repeated", keep=False, mask=True)
    if facts.calls_left < 1:
        return Outcome("code", keep=True, stop="max_tool_calls", output=text)
    return Outcome("code", keep=True, output=text, calls=(call,))
