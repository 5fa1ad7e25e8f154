"""Asks the base which tools a request needs, from the user's own words alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from loraloop.adapters.base.messages import Message
from loraloop.agent.engine.cache.sequence import Interrupted, QueueFullError, RequestContext
from loraloop.agent.engine.step import Openings, StepRequest, run_step, transcript
from loraloop.agent.engine.transcript import Transcript
from loraloop.agent.messages import words_of
from loraloop.agent.runtime import Runtime
from loraloop.tool_schemas.errors import LoraloopError
from loraloop.tool_schemas.grammar.grammar import Choice
from loraloop.tool_schemas.jsontext import fold
from loraloop.tool_schemas.tools.tool import Tool

YES, NO = "yes", "no"
SYSTEM = """Does a request ask for an action? Answer yes or no.
Request: Which note mentions flour? Action: share a note with somebody.
no
Request: Find the note about flour and share it with Mara. Action: share a note with somebody.
yes
Request: Find the note about flour and share it with Mara. Action: remove a note.
no
Request: Copy what the old list says into a new note, then remove the old one. Action: write a new note.
yes"""


def user_words(messages: Sequence[Message]) -> str:
    """The user's own words in a transcript: no passages, and no message that is not trusted."""
    trusted = (each for each in messages if each.role == "user" and (each.origin is None or each.origin.trusted))
    return " ".join(map(words_of, trusted))


def needed_tools(
    runtime: Runtime,
    messages: Sequence[Message],
    tools: Iterable[Tool],
    threshold: float | None,
    request_context: RequestContext,
) -> tuple[str, ...]:
    """Names of the tools with effects that the user's words ask for, as the bare base says of each.

    The questions stand in a transcript of their own that holds the words and the tools' descriptions, so that no
    untrusted text of the run has a say. A tool about which the base cannot be asked counts as not needed.

    Args:
        runtime: The runtime whose base is asked.
        messages: The transcript.
        tools: Those that could be called.
        threshold: Probability from which a tool counts as needed; what is likelier where None.
        request_context: The run's, which bounds it.

    Raises:
        Interrupted: The run's time is up, or it was cancelled.
        QueueFullError: Too much waits for the base.
    """
    words = user_words(messages)
    acting = [tool for tool in tools if tool.effects is not False]
    if not words or not acting:
        return ()
    opening = runtime.base.chat.complete([Message("system", SYSTEM)])
    found = []
    try:
        own = transcript(runtime.engine, opening)
        own.request_context = request_context
        start = len(own.ids)
        try:
            for tool in acting:
                if reason := request_context.gone():
                    raise Interrupted(reason)
                question = Message("user", f"Request: {words} Action: {_action(tool.description or tool.name)}")
                own.append(question)
                if _says_yes(runtime, own, threshold):
                    found.append(tool.name)
                own.cut(start)
        finally:
            runtime.engine.close(own)
    except (Interrupted, QueueFullError):
        raise
    except LoraloopError:  # the request does not fit beside the question
        return ()
    return tuple(found)


def _action(described: str) -> str:
    """A description as the end of a sentence."""
    words = fold(described)
    return words[:1].lower() + words[1:]


def _says_yes(runtime: Runtime, trunk: Transcript, threshold: float | None) -> bool:
    grammar, openings = runtime.grammar(Choice((YES, NO))), Openings(YES, NO, threshold)
    return run_step(runtime.engine, trunk, StepRequest(grammar=grammar, max_tokens=8, openings=openings)).text == YES
