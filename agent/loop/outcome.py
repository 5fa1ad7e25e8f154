"""Decides what a step's text means for the transcript and the run. Functions of plain values, without side effects.

| contract | text | what stays | next |
|---|---|---|---|
| calls | calls | the text, then each result | route again |
| calls | `[]`, or only calls that were answered already | nothing | route again, this contract masked |
| calls | a call with `null` in the place of arguments | nothing | the base asks the user for these, and the run ends |
| calls | a call that has no implementation | the text | the run ends, the calls are its output |
| calls | an invalid call | nothing | the step again, told what is wrong |
| calls | a value that nobody gave | nothing | the step again, told which; then the base asks the user for it |
| calls | after that only calls that were answered already | nothing | the base asks the user for the value |
| calls | an invalid call, no repair left | nothing | route again, this contract masked; the run ends if required |
| answer | answerable | the text | the run ends, or routes again if the policy says so |
| answer | not answerable | nothing | route again, this contract and code masked: no program answers a question |
| verdict | unsafe | the refusal | the run ends |
| verdict | safe | nothing | the run goes on |
| verdict | unreadable | nothing | the run ends, or what the gate says |
| code | code, with the `python` tool | the text, then what it printed | route again; the run ends if that is nothing |
| code | code | the text | the run ends |
| code | nothing that parses was found | nothing | route again, this contract masked |
| text | anything | the text | the run ends |
| text, answer | what the records do not bear out | the receipts | as after a true answer |
| text | not a value of the output type | nothing | the step again, told what is wrong; else the run ends |
| text, answer | the same, with a fallback | nothing | the step again, by the fallback |
| any | fails another check twice, with a fallback | nothing | the step again, by the fallback |

A step that met a limit is never acted on: a call or a program that was cut short may mean something else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from loraloop.adapters.skill.contracts import answer_of, code_of, verdict_of
from loraloop.agent.grounding.grounding import ungrounded_error
from loraloop.agent.values.calls import PYTHON, UngroundedValue, call_key, clip
from loraloop.agent.values.step import AnswerFlaw, Outcome, StopReason
from loraloop.tool_schemas.errors import SchemaError
from loraloop.tool_schemas.tools.calls import MOST_ASKED, Ask, Call, parse_step
from loraloop.tool_schemas.tools.tool import Tool

FAILED = ("invalid", "ungrounded", "flawed")
"""The outcomes of a text that a check found to be wrong."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts on which an outcome depends, besides the text.

    Attributes:
        tools: The tools that the step may call.
        answered: Keys (`call_key`) of the calls whose results this run has.
        calls_left: Calls that the limits still allow.
        python: Whether programs are run.
        repeat: Whether the same call may run again.
        go_on: Whether the run routes again after a retrieval answer.
        limit: The limit at which generation was cut; None if the text ended by itself.
        least: The least number of calls that the step must have.
        required: Whether the caller requires a call.
        repairs: How often an invalid text may still be written again.
        read: Turns the text of an answer into its value; None where any text will do.
        flaw: What generation has found to be wrong with the text; empty for nothing.
        ungrounded: Finds the values of calls for which these may not run, because nobody gave them.
        refused: The arguments of such values, where the step is written again because of them.
        asks: Whether the base may ask the user for an argument.
    """

    tools: Sequence[Tool] = ()
    answered: Collection[str] = ()
    calls_left: int = 16
    python: bool = False
    repeat: bool = False
    go_on: bool = False
    limit: StopReason | None = None
    least: int = 0
    required: bool = False
    repairs: int = 0
    read: Callable[[str], Any] | None = None
    flaw: str = ""
    ungrounded: Callable[[Sequence[Call]], tuple[UngroundedValue, ...]] = lambda calls: ()
    refused: tuple[str, ...] = ()
    asks: bool = True


def outcome_of(contract: str, text: str, facts: Facts) -> Outcome:
    """Reads a step's text under its contract.

    Raises:
        SchemaError: if an answer or code is not what the contract says (a grammar makes that impossible).
    """
    if facts.limit is not None:
        value, error = _read(text, facts) if contract == "text" else (None, "")
        keep = contract in ("text", "code")  # of the others there is a piece of JSON
        output = text if keep else ""
        return Outcome("truncated", keep=keep, stop=facts.limit, output=output, value=value, error=error)
    if contract == "calls":
        return _calls(text, facts)
    if contract == "text":
        value, error = _read(text, facts)
        if error:
            return _invalid(text, error, facts, required=True)
        return Outcome("text", keep=True, stop="answer", output=text, value=value)
    if contract == "answer":
        if facts.flaw:
            return _invalid(text, facts.flaw, facts, required=False)
        answer = answer_of(text)
        if not answer.answerable:
            return Outcome("not_answerable", keep=False, mask=True)
        if facts.go_on:
            return Outcome("answer", keep=True, citations=answer.citations, output=answer.answer, mask=True)
        return Outcome("answer", keep=True, stop="answer", output=answer.answer, citations=answer.citations)
    if contract == "verdict":
        return _verdict(text, facts.flaw)
    return _code(text, facts)


def _invalid(text: str, error: str, facts: Facts, required: bool) -> Outcome:
    """An invalid text: the step is written again if that is allowed, else it is dropped, or the run ends."""
    if facts.repairs:
        return Outcome("invalid", keep=False, error=error, again=True)
    if required:
        return Outcome("invalid", keep=False, stop="invalid", output=text, error=error)
    return Outcome("invalid", keep=False, mask=True, error=error)


def _read(text: str, facts: Facts) -> tuple[Any, str]:
    """The value of an answer's text, or what is wrong with it."""
    if facts.flaw:
        return None, facts.flaw
    try:
        return None if facts.read is None else facts.read(text), ""
    except SchemaError as error:
        return None, clip(str(error))


def _calls(text: str, facts: Facts) -> Outcome:
    try:
        if facts.flaw:
            raise SchemaError(facts.flaw)
        calls = parse_step(text, facts.tools)
        if isinstance(calls, Ask):
            if not facts.asks:
                raise SchemaError(_no_question(calls))
            return Outcome("ask", keep=False, mask=True, ask=calls.arguments)
        if len(calls) < facts.least:
            raise SchemaError(f"at least {facts.least} calls are needed, not {len(calls)}")
    except SchemaError as error:
        return _invalid(text, clip(str(error)), facts, facts.required)
    if not calls:
        return Outcome("no_call", keep=False, mask=True)
    if values := facts.ungrounded(calls):
        return _ungrounded(text, values, facts)
    known = {tool.name: tool for tool in facts.tools}
    if not all(known[call.name].executable for call in calls):
        return Outcome("tool_call", keep=True, stop="tool_call", output=text, calls=calls)
    keys = [call_key(call) for call in calls]
    fresh = keys if facts.repeat else set(keys).difference(facts.answered)  # a repeated call does not run
    if not fresh:  # what was refused is still to be done: an answer would say that it is
        return Outcome("repeated", keep=False, mask=True, ask=facts.refused if facts.asks else ())
    if len(fresh) > facts.calls_left:
        return Outcome("calls", keep=False, stop="max_tool_calls")
    return Outcome("calls", keep=True, calls=calls)


def _no_question(calls: Ask) -> str:
    """What is wrong with calls that lack values where the user cannot be asked for them."""
    names = ", ".join(calls.arguments)
    return f"null stands in the place of {names}, and the user cannot be asked here: write values that were given"


def _ungrounded(text: str, values: tuple[UngroundedValue, ...], facts: Facts) -> Outcome:
    """Calls on values that nobody gave: the step is written again once, then the user is asked for the values."""
    if not facts.refused and facts.repairs:
        return Outcome("ungrounded", keep=False, again=True, error=ungrounded_error(values), ungrounded=values)
    if facts.asks:
        ask = arguments_of(values)
        return Outcome("ungrounded", keep=False, mask=True, ask=ask, error=ungrounded_error(values), ungrounded=values)
    dropped = _invalid(text, clip(ungrounded_error(values)), replace(facts, repairs=0), facts.required)
    return replace(dropped, name="ungrounded", ungrounded=values)


def arguments_of(values: Sequence[UngroundedValue]) -> tuple[str, ...]:
    """The arguments that the user is asked for where nobody gave these values."""
    return tuple(dict.fromkeys(value.argument for value in values))[:MOST_ASKED]


def flawed(outcome: Outcome, flaws: tuple[AnswerFlaw, ...], records: str) -> Outcome:
    """An answer that the records do not bear out: what they say is the answer.

    Args:
        outcome: The outcome of the answer as it was written.
        flaws: What is wrong with it.
        records: What the records say.
    """
    error = clip("; ".join(map(str, flaws)))
    return replace(outcome, name="flawed", keep=False, output=records, error=error, flaws=flaws, records=records)


def handed_over(outcome: Outcome) -> Outcome:
    """A text that has failed a check, where the fallback writes the step next."""
    return replace(outcome, again=True, stop=None, output="", mask=False, ask=())


def _verdict(text: str, flaw: str) -> Outcome:
    try:
        if flaw:
            raise SchemaError(flaw)
        verdict = verdict_of(text)
    except SchemaError as error:
        return Outcome("invalid", keep=False, stop="invalid", error=clip(str(error)))
    if verdict.unsafe:
        return Outcome("unsafe", keep=False, stop="refused", category=verdict.category, refuse=True)
    return Outcome("safe", keep=False)


def _code(text: str, facts: Facts) -> Outcome:
    if facts.flaw:
        return Outcome("invalid", keep=False, mask=True, error=facts.flaw)
    code = code_of(text)
    if not facts.python:
        return Outcome("code", keep=True, stop="code", output=text)
    call = Call(PYTHON, {"code": code})
    if not facts.repeat and call_key(call) in facts.answered:
        return Outcome("repeated", keep=False, mask=True)
    if facts.calls_left < 1:
        return Outcome("code", keep=True, stop="max_tool_calls", output=text)
    return Outcome("code", keep=True, output=text, calls=(call,))
