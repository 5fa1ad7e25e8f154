"""Where each message comes from, and what is to be trusted."""

from __future__ import annotations

import json

import pytest

from loraloop.adapters.base import Message
from loraloop.adapters.base.origin import Origin
from loraloop.agent import Agent, Guard, Limits
from loraloop.testing import ScriptedRuntime, calls, code
from loraloop.tool_schemas.tools.tool import Tool, tool

PASSAGES = [{"id": "a", "text": "Rye grows here.", "source": "fields.txt"}, {"id": "b", "text": "So does oat."}]


@tool
def look(word: str) -> str:
    """Looks a word up."""
    return f"about {word}"


@tool(trusted=True)
def clock() -> str:
    """Says what time it is."""
    return "noon"


def test_every_message_says_where_it_comes_from_and_that_it_serialises() -> None:
    far = Tool("far", "Far away.", function=lambda: "hm", source="mcp:hill")
    runtime = ScriptedRuntime(calls(clock={}), calls(look={"word": "a"}), calls(far={}), "It is noon.")
    result = Agent(runtime, [look, clock, far], "Be brief.").run_sync("When?", passages=[])
    told = [
        (m.role, m.origin.kind, m.origin.name, m.origin.step, m.origin.trusted) for m in result.messages if m.origin
    ]
    assert told == [
        ("system", "system", "", None, True),
        ("user", "user", "", None, True),
        ("assistant", "skill", "tools", 0, True),
        ("tool", "tool", "clock", 0, True),
        ("assistant", "skill", "tools", 1, True),
        ("tool", "tool", "look", 1, False),
        ("assistant", "skill", "tools", 2, False),  # written after untrusted text was read
        ("tool", "tool", "far", 2, False),
        ("assistant", "skill", "none", 3, False),
    ]
    assert result.messages[7].origin is not None and result.messages[7].origin.source == "mcp:hill"
    read = [Message(**message) for message in json.loads(result.to_json())["messages"]]
    assert [message.origin for message in read] == [message.origin for message in result.messages]
    assert read == list(result.messages)


def test_passages_are_spans_of_the_users_message() -> None:
    result = Agent(ScriptedRuntime("Oat.")).run_sync("What grows?", passages=PASSAGES)
    message = result.messages[0]
    assert message.origin is not None and not message.trusted
    cut = [(span.id, span.source, message.content[span.start : span.end]) for span in message.origin.passages]
    assert cut == [("a", "fields.txt", "[a] Rye grows here."), ("b", "", "[b] So does oat.")]
    own = Agent(ScriptedRuntime("Oat."), guard=Guard(trust_passages=True)).run_sync("What grows?", passages=PASSAGES)
    assert own.messages[0].trusted and own.messages[-1].trusted and not result.messages[-1].trusted


def test_origins_live_on_in_a_conversation_and_through_compaction() -> None:
    runtime = ScriptedRuntime(calls(look={"word": "a" * 200}), "One.", "Two.", context=1600)
    agent = Agent(runtime, [look], limits=Limits(keep_free=1000))
    first = agent.run_sync("Look.")
    second = agent.run_sync("And now, once more, with a longer sentence?", messages=first.messages)
    assert second.compactions and [m.origin.kind for m in second.messages if m.origin][-1] == "skill"
    assert not second.messages[-1].trusted or all(m.role != "tool" for m in second.messages)
    for message in second.messages:
        assert message.origin is not None


def test_of_unknown_origin_only_what_tools_say_is_not_trusted() -> None:
    assert Message("user", "hi").trusted and Message("assistant", "hi").trusted
    assert not Message("tool", "hi").trusted
    with pytest.raises(ValueError, match="unknown kind of origin 'devil'"):
        Origin("devil")  # type: ignore[arg-type]


def test_a_program_that_was_written_after_untrusted_text_prints_untrusted_text() -> None:
    runtime = ScriptedRuntime(code("print(1)"), "One.")
    result = Agent(runtime, python=True).run_sync("Print 1.", passages=PASSAGES)
    printed = next(message for message in result.messages if message.role == "tool")
    assert printed.origin is not None and printed.origin.name == "python" and not printed.trusted
    runtime = ScriptedRuntime(code("print(1)"), "One.")
    assert all(message.trusted for message in Agent(runtime, python=True).run_sync("Print 1.").messages)
