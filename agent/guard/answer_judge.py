"""What the verdict skill says of an answer: whether it contradicts what is on record.

The skill reads the transcript, with the calls and results of this run and of earlier turns, as the bare base has
computed it. Its branch holds the answer alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import agreement_prompt, agreement_schema, calls_of, contradicts_of
from loraloop.agent.engine.cache.sequence import Interrupted, QueueFullError
from loraloop.agent.engine.step import StepRequest, run_step
from loraloop.agent.engine.transcript import Transcript
from loraloop.agent.runtime import Runtime
from loraloop.agent.values.calls import CallRecord, Deny
from loraloop.tool_schemas.errors import ContextLengthError, LimitError
from loraloop.tool_schemas.grammar.grammar import JsonSchema
from loraloop.tool_schemas.jsontext import loads_or

TOKENS = 32
MOST = 6  # calls of earlier turns that are told in the place of an answer


def contradiction(runtime: Runtime, trunk: Transcript, answer: str) -> float | None:
    """The probability that an answer contradicts the transcript, where the skill says so; None where it does not.

    None also where the answer does not fit the context, or no slot is free for the skill.

    Args:
        runtime: Has a verdict skill.
        trunk: The transcript before the answer; it is left as it was.
        answer: The answer's text.

    Raises:
        Interrupted: The run's time is up, or it was cancelled.
        QueueFullError: Too much waits for the base.
    """
    skill, prompt = runtime.answer_judge, Message("user", agreement_prompt(answer))
    assert skill is not None
    room = trunk.context - len(trunk.ids) - len(runtime.base.chat.message(prompt.role, prompt.content))
    if room < 2 * TOKENS:
        return None
    request = StepRequest(
        choice=skill,
        grammar=runtime.grammar(JsonSchema(agreement_schema())),
        extra_prompt=[[prompt]],
        max_tokens=TOKENS,
        openings=runtime.openings(skill, "agreement", None),
    )
    try:
        out = run_step(runtime.engine, trunk, request)
    except (Interrupted, QueueFullError):
        raise
    except (ContextLengthError, LimitError):
        return None
    if not out.whole or not contradicts_of(out.text):
        return None
    return 1.0 if out.weighed is None else out.weighed


def records_in(messages: Sequence[Message]) -> list[CallRecord]:
    """The last calls of a transcript, with what it says of their results."""
    found: list[CallRecord] = []
    waiting: list[tuple[str, dict[str, object]]] = []
    for message in messages:
        if message.role == "assistant":
            waiting = [(call["name"], call["arguments"]) for call in calls_of(message.content) or ()]
        elif message.role == "tool":
            result = _result_of(message.content)
            at = next((at for at, (name, _) in enumerate(waiting) if result.get("name", name) == name), None)
            name, arguments = (str(result.get("name", "")), {}) if at is None else waiting.pop(at)
            error = None if result.get("error") is None else str(result["error"])
            denied = "denied" if error is not None and error.startswith(Deny().error) else ""
            found.append(CallRecord(name, arguments, result.get("result"), error, approval=denied))
    return found[-MOST:]


def _result_of(content: str) -> dict[str, object]:
    """What a message says of a call. One that is not in our form is the result itself, whose call is the next one."""
    result = loads_or(content, content)
    ours = isinstance(result, dict) and "name" in result and not result.keys().isdisjoint(("result", "error", "retry"))
    return result if ours else {"result": result}
