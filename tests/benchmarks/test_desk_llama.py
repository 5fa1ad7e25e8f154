"""The plain loop around llama.cpp, with what it says written down."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from loraloop.evals.desk.runner import ask
from loraloop.evals.desk.world import SHIPPED, World, load_worlds


class Scripted:
    """Says one text after the other, and keeps what it was shown."""

    def __init__(self, *texts: str, whole: bool = True) -> None:
        self.texts, self.whole, self.shown = list(texts), whole, [[{"role": "", "content": ""}]]

    def ask(self, do: str, messages: list[Any], tools: list[Any]) -> dict[str, Any]:
        self.shown.append(list(messages))
        return {"text": self.texts.pop(0) if len(self.texts) > 1 else self.texts[0], "whole": self.whole}


@pytest.fixture
def world() -> World:
    return load_worlds(SHIPPED, ["workshop"])[0]


def call_of(world: World, id: str) -> tuple[Any, str, str]:
    """A request with one call, that call as JSON, and a right answer."""
    request = next(each for each in world.requests if each.id == id)
    turn = request.turns[0]
    wanted = turn.calls[0]
    return request, json.dumps({"name": wanted.name, "arguments": dict(wanted.arguments)}), turn.good


@pytest.mark.parametrize("form", ["<tool_call>\n{}\n</tool_call>", "```json\n{}\n```", "I look. [{}]", "{}"])
def test_calls_run_in_whatever_form_they_are_written(
    benchmark: Callable[[str], ModuleType], world: World, form: str
) -> None:
    request, call, good = call_of(world, "call-myself")
    chat = Scripted(form.replace("{}", call), good)
    row = ask(benchmark("desk_llama").LlamaAgent(chat, world), world, request)
    assert row["right"], row["why"]
    system, user, called, result = chat.shown[-1]
    assert world.documents[0]["id"] in system["content"] and user["content"] == request.turns[0].say
    assert called["tool_calls"][0]["function"] == json.loads(call) and "KE 902" in result["content"]


def test_a_model_that_calls_without_end_or_is_cut_off_is_wrong(
    benchmark: Callable[[str], ModuleType], world: World
) -> None:
    peer = benchmark("desk_llama")
    request, call, good = call_of(world, "call-myself")
    endless = Scripted(call)
    row = ask(peer.LlamaAgent(endless, world), world, request)
    assert not row["right"] and row["turns"][0]["stop"] == "max_steps" and len(endless.shown) == 1 + peer.ROUNDS
    row = ask(peer.LlamaAgent(Scripted(good, whole=False), world), world, request)
    assert row["turns"][0]["stop"] == "max_tokens"


def test_a_tool_that_fails_is_told_and_a_document_is_cited(
    benchmark: Callable[[str], ModuleType], world: World
) -> None:
    peer, id = benchmark("desk_llama"), world.documents[0]["id"]
    name = world.tools[0].__name__
    chat = Scripted(json.dumps({"name": name, "arguments": {"nonsense": 1}}), f"It stands there [{id}], not in [x].")
    result = peer.LlamaAgent(chat, world).run_sync("Where?")
    assert "nonsense" in result.messages[-2]["content"] and [each.source for each in result.cited] == [id]
    assert peer.calls_in('{"name": "other", "arguments": {}} {"name": 1 {"a": 2}', {name}) == []


def test_an_argument_that_a_tool_lacks_is_a_value_from_nowhere(
    benchmark: Callable[[str], ModuleType], world: World
) -> None:
    request, call, good = call_of(world, "call-myself")
    wrong = json.loads(call)
    wrong["arguments"]["service"] = "oil change"
    row = ask(benchmark("desk_llama").LlamaAgent(Scripted(json.dumps(wrong), good), world), world, request)
    assert not row["right"] and row["ungrounded"] == [f"{wrong['name']}.service='oil change'"]
