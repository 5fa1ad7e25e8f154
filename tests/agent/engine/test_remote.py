"""Steps that a server writes: what it is asked, what is checked here, and what becomes of its failures."""

from __future__ import annotations

import gc
import itertools
import logging
import multiprocessing
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loraloop import Agent, Approve, Limits, PendingRun, Policy, Runtime, Sessions, Tracer
from loraloop.adapters.base import Message
from loraloop.agent.engine.remote.adapters import models_of
from loraloop.agent.engine.remote.connect import CONTEXT
from loraloop.agent.engine.remote.engine import laid_out
from loraloop.agent.engine.remote.fallback import Fallback
from loraloop.agent.engine.remote.grammar import RemoteGrammar
from loraloop.agent.engine.remote.server import RemoteServer
from loraloop.agent.events import TokenGenerated
from loraloop.tool_schemas import Tool
from loraloop.tool_schemas.errors import (
    BaseModelError,
    ContextLengthError,
    InputError,
    LimitError,
    SchemaError,
    UnknownNameError,
)
from loraloop.tool_schemas.grammar.compiler import GrammarCompiler
from loraloop.tool_schemas.grammar.grammar import Choice, JsonSchema, Lark, Regex
from loraloop.tool_schemas.http.client import Retries

DOUBLE = '[{"name": "double", "arguments": {"n": 2}}]'
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


@pytest.fixture
def connect(peer: Any, one_base: None) -> Callable[..., Runtime]:
    def made(*answers: Any, **options: Any) -> Runtime:
        peer.answers += answers
        return Runtime.connect(peer.url, **options)

    return made


def double(n: int) -> int:
    """Doubles a number."""
    return 2 * n


def test_a_run_on_a_server_calls_tools_and_answers(peer: Any, connect: Callable[..., Runtime]) -> None:
    tracer = Tracer(keep=1)
    agent = Agent(connect(DOUBLE, "It is 4."), [double], "Be exact.", hooks=[tracer])
    result = agent.run_sync("Double 2.", skill="tools")
    assert [step.skill for step in result.steps] == ["tools", "none"] and result.output == "It is 4."
    assert result.steps[0].calls[0].result == 4 and result.steps[0].text == '[{"name":"double","arguments":{"n":2}}]'
    assert (result.steps[0].tokens.prefilled, result.steps[0].tokens.reused) == (10, 30)
    first, second = peer.bodies
    assert first["response_format"]["json_schema"]["schema"]["type"] == "array" and first["model"] == "model"
    assert "response_format" not in second and second["stream_options"] == {"include_usage": True}
    assert [each["role"] for each in second["messages"]] == ["system", "user", "assistant", "user"]
    assert second["messages"][0]["content"].startswith("Be exact.") and '"result":4' in second["messages"][3]["content"]
    assert tracer.last is not None and tracer.last.runtime.missing == agent.runtime.missing != ()


def test_free_text_is_streamed_and_a_form_comes_when_it_was_checked(connect: Callable[..., Runtime]) -> None:
    runtime = connect("Hello there.", '{"n": 7}')
    pieces = [e.text for e in Agent(runtime).stream("Hi.", skill="none") if isinstance(e, TokenGenerated)]
    assert pieces == ["Hel", "lo there."]
    stream = Agent(runtime, output_type=SCHEMA).stream("A number.", skill="none")
    assert [e.text for e in stream if isinstance(e, TokenGenerated)] == ['{"n":7}'] and stream.result.value == {"n": 7}


def test_an_invalid_call_is_told_once_and_then_ends_as_invalid(peer: Any, connect: Callable[..., Runtime]) -> None:
    wrong = '[{"name":"double","arguments":{"n":"two"}}]'
    policy = Policy(tool_choice="required", repairs=1)
    result = Agent(connect(wrong, DOUBLE, "4."), [double], policy=policy).run_sync("Double 2.")
    assert [step.outcome for step in result.steps] == ["invalid", "calls", "text"] and result.output == "4."
    assert "That is not valid" in peer.bodies[1]["messages"][-1]["content"]
    result = Agent(connect(wrong, wrong), [double], policy=policy).run_sync("Double 2.")
    assert [step.outcome for step in result.steps] == ["invalid", "invalid"] and result.stop_reason == "invalid"
    assert len(peer.bodies) == 5


CALLED = '[{"name":"double","arguments":{"n":2}}]'


def test_an_answer_that_begins_like_a_call_is_asked_for_in_plain_words(
    peer: Any, connect: Callable[..., Runtime]
) -> None:
    """As by the base here: what it sees besides is in its branch alone, and comes only where it would begin so."""
    runtime = connect("[]", "\n " + CALLED, "It is 4.")
    stream = Agent(runtime, [double]).stream("Hi.", skill="tools")
    pieces = [e.text for e in stream if isinstance(e, TokenGenerated) and e.answer]
    assert "".join(pieces) == stream.result.output == "It is 4." and len(peer.bodies) == 3
    tokens = stream.result.steps[-1].tokens
    assert (tokens.prefilled, tokens.reused) == (20, 60) and tokens.generated > 10, "what was asked for twice counts"
    plain = runtime.base.prompting.plain_words
    assert peer.bodies[2]["messages"][-1]["content"].endswith(plain) and plain not in str(peer.bodies[1])
    assert plain not in str(stream.result.messages)
    peer.answers += [CALLED]
    assert Agent(runtime).run_sync("Hi.", skill="none").output == CALLED, "without tools it is no call"


def test_a_call_in_the_place_of_an_answer_is_invalid(peer: Any, connect: Callable[..., Runtime]) -> None:
    result = Agent(connect("[]", CALLED, CALLED, CALLED, "It is 4."), [double]).run_sync("Hi.", skill="tools")
    assert [step.outcome for step in result.steps] == ["no_call", "invalid", "text"] and result.output == "It is 4."
    assert "That is not valid" in peer.bodies[3]["messages"][-1]["content"]
    peer.answers += ["[]", *[CALLED] * 4]
    result = Agent(connect(), [double]).run_sync("Hi.", skill="tools")
    assert result.stop_reason == "invalid" and result.messages[-1].role == "user" and not peer.answers


def test_a_call_that_waits_may_have_been_written_in_another_order(connect: Callable[..., Runtime]) -> None:
    tool = Tool.from_function(double, requires_approval=True)
    agent = Agent(connect('[{"arguments": {"n": 2}, "name": "double"}]', "It is 4."), [tool])
    waits = agent.run_sync("Double 2.", skill="tools").pending
    assert waits is not None
    pending = PendingRun.from_json(waits.to_json())
    assert agent.resume_sync(pending, {"call_0_0": Approve()}).steps[0].calls[0].result == 4


def test_a_skill_of_the_server_is_named_in_the_request(peer: Any, connect: Callable[..., Runtime]) -> None:
    peer.models += [{"id": "tools", "parent": "model"}]
    runtime = connect("[]", "Hi.", engine="vllm")
    Agent(runtime, [double]).run_sync("Hi.", skill="tools")
    assert peer.bodies[0]["model"] == "tools" and peer.bodies[0]["structured_outputs"]["json"]["type"] == "array"
    assert peer.bodies[1]["model"] == "model" and runtime.call_form("tools") == ""
    peer.models += [{"id": "t", "parent": "model"}]
    Agent(connect("[]", "Hi.", engine="sglang", skills={"tools": "t"}), [double]).run_sync("Hi.", skill="tools")
    assert (peer.bodies[2]["lora_path"], peer.bodies[2]["model"]) == ("t", "model")


def test_what_passes_is_sent_again(peer: Any, connect: Callable[..., Runtime]) -> None:
    runtime = connect(503, 429, "Fine.")
    runtime.engine.server._retries = Retries(backoff=0.01)  # type: ignore[attr-defined]
    assert Agent(runtime).run_sync("Hi.", skill="none").output == "Fine." and len(peer.bodies) == 3
    peer.answers += [503, 503, 503]
    with pytest.raises(BaseModelError, match="answered 503"):
        Agent(runtime).run_sync("Hi.", skill="none")
    assert len(peer.bodies) == 6


@pytest.mark.parametrize("after", ["Fri, 31 Dec 2100 23:59:59 GMT", "\xb2"])
def test_a_wait_is_a_number_or_a_date(connect: Callable[..., Runtime], after: str) -> None:
    def busy(handler: Any) -> None:
        handler.send_response(429)
        handler.send_header("Retry-After", after)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    agent = Agent(connect(busy))
    if after == "\xb2":
        assert agent.run_sync("Hi.", skill="none").output == "Fine."
    else:
        with pytest.raises(BaseModelError, match="it asks to wait"):
            agent.run_sync("Hi.", skill="none")


def test_a_line_separator_is_a_part_of_the_text(connect: Callable[..., Runtime]) -> None:
    text = "one\u2028two\x85three"
    assert Agent(connect(text)).run_sync("Hi.", skill="none").output == text


def test_what_broke_off_is_not_sent_again(peer: Any, connect: Callable[..., Runtime]) -> None:
    def breaks(handler: Any) -> None:
        handler.begin()
        handler.piece("Half")

    with pytest.raises(BaseModelError, match="does not answer"):
        Agent(connect(breaks)).run_sync("Hi.", skill="none")
    assert len(peer.bodies) == 1


@pytest.mark.parametrize("reason", ["abort", "content_filter"])
def test_what_the_server_cut_off_is_no_answer(connect: Callable[..., Runtime], reason: str) -> None:
    def cuts(handler: Any) -> None:
        handler.begin()
        handler.piece("Half")
        handler.piece("", reason)
        handler.wfile.write(b"data: [DONE]\n\n")

    with pytest.raises(BaseModelError, match=reason):
        Agent(connect(cuts)).run_sync("Hi.", skill="none")


@pytest.mark.parametrize(("status", "kind"), [(401, InputError), (400, ContextLengthError), (500, BaseModelError)])
def test_a_refusal_says_what_it_is(connect: Callable[..., Runtime], status: int, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"the server at http://127.0.0.1"):
        Agent(connect(status)).run_sync("Hi.", skill="none")


@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_a_run_that_ends_closes_its_request(peer: Any, connect: Callable[..., Runtime], how: str) -> None:
    def on_and_on(handler: Any) -> None:
        handler.begin()
        for _ in range(2000):
            handler.piece("word ")
            time.sleep(0.01)

    limits = Limits(deadline=1.0 if how == "deadline" else None)
    stream = Agent(connect(on_and_on), limits=limits).stream("Go on.", skill="none")
    for event in stream:
        if isinstance(event, TokenGenerated) and how == "cancel":
            stream.cancel()
    assert stream.result.stop_reason == ("cancelled" if how == "cancel" else "deadline")
    assert peer.closed.wait(10), "the server goes on for nobody"


def test_a_silent_server_does_not_hold_a_cancelled_run(connect: Callable[..., Runtime]) -> None:
    free = threading.Event()
    stream = Agent(connect(lambda handler: free.wait(30))).stream("Hi.", skill="none")
    threading.Timer(0.5, stream.cancel).start()
    start = time.monotonic()
    assert stream.finish().stop_reason == "cancelled" and time.monotonic() - start < 15
    free.set()


def test_no_more_requests_are_in_flight_than_allowed(peer: Any, connect: Callable[..., Runtime]) -> None:
    lock, in_flight, most = threading.Lock(), [0], [0]

    def slow(handler: Any) -> None:
        with lock:
            in_flight[0] += 1
            most[0] = max(most[0], in_flight[0])
        time.sleep(0.2)
        with lock:
            in_flight[0] -= 1  # before the answer: a client that has read its end asks again at once
        handler.begin()
        handler.piece("Fine.")
        handler.end()

    agent = Agent(connect(*[slow] * 6, concurrency=2))
    results = agent.run_batch(["Hi."] * 6, skill="none")
    assert [result.output for result in results] == ["Fine."] * 6 and most == [2]


def test_a_run_goes_on_after_its_server_died(peer: Any, connect: Callable[..., Runtime], tmp_path: Path) -> None:
    made: list[int] = []

    def pay(n: int) -> str:
        """Pays."""
        made.append(n)
        return "paid"

    sessions = Sessions(tmp_path / "s.db")
    call = '[{"name": "pay", "arguments": {"n": 2}}]'
    agent = Agent(connect(call, 500, "Paid."), [pay], sessions=sessions)
    with pytest.raises(BaseModelError, match="500"):
        agent.run_sync("Pay 2.", skill="tools", session="one")
    result = agent.run_sync(session="one")
    assert result.output == "Paid." and made == [2] and len(peer.bodies) == 3


def test_what_cannot_be_done_is_said(
    peer: Any, connect: Callable[..., Runtime], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "loraloop"):
        runtime = connect()
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "loraloop"]
    assert all(each in warning for each in runtime.engine.missing)
    with pytest.raises(UnknownNameError, match="sglang"):
        Runtime.connect(peer.url, engine="sglangs")  # type: ignore[arg-type]
    for kind in ("vllm", "sglang"):
        with pytest.raises(UnknownNameError, match="adapter"):
            Runtime.connect(peer.url, engine=kind, skills={"tools": "modle"})  # type: ignore[arg-type]
    for context in (0, 2049):
        with pytest.raises(InputError, match=f"context is {context}"):
            Runtime.connect(peer.url, context=context)
    with pytest.raises(BaseModelError, match="does not answer"):
        Runtime.connect("http://127.0.0.1:9/v1")
    peer.models = []
    with pytest.raises(BaseModelError, match="lists no model"):
        Runtime.connect(peer.url)


def test_the_model_of_a_server_is_the_one_that_was_named(peer: Any, connect: Callable[..., Runtime]) -> None:
    small = "qwen2.5-coder-1.5b"
    assert connect(base=small).engine.model == "model", "it has no other"  # type: ignore[attr-defined]
    peer.models = [{"id": "big-70b"}, {"id": small}, {"id": "tools", "parent": "big-70b"}]
    with pytest.raises(UnknownNameError, match=f"did you mean {small!r}"):
        connect(base="qwen2.5-coder-1.5")
    assert connect(base=small).engine.model == small  # type: ignore[attr-defined]
    assert connect(context=CONTEXT + 1).engine.model == "big-70b", "nothing says how long a context it has"  # type: ignore[attr-defined]


def test_a_forked_child_asks_the_server_itself(connect: Callable[..., Runtime]) -> None:
    agent, threads = Agent(connect()), torch.get_num_threads()

    def ask() -> None:
        assert agent.run_sync("Hi.", skill="none").output == "Fine."

    torch.set_num_threads(2)
    try:
        ask()
        child = multiprocessing.get_context("fork").Process(target=ask)
        child.start()
        child.join(120)
        child.kill()
        assert child.exitcode == 0
        ask()
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("url", ["http://x:80a/v1", "x:80/v1", "ftp://x/v1", "http:///v1", ""])
def test_an_address_that_is_none_is_told_before_anything_is_asked(url: str) -> None:
    with pytest.raises(InputError, match="https://host/v1"):
        RemoteServer(url)
    with pytest.raises(InputError, match="https://host/v1"):
        Fallback(url)


@pytest.mark.parametrize("key", ["sch\u00f6n", "one\ntwo", "one\x00two"])
def test_a_key_that_no_header_can_hold_is_not_sent(key: str) -> None:
    with pytest.raises(InputError, match="key") as caught:
        RemoteServer("http://x/v1", key)
    assert key not in str(caught.value)


@pytest.mark.parametrize("data", [[{"object": "model"}], ["model"], {"id": "model"}, []])
def test_models_without_an_id_are_told(peer: Any, monkeypatch: pytest.MonkeyPatch, data: Any) -> None:
    server = RemoteServer(peer.url)
    monkeypatch.setattr(server, "get", lambda path: {"data": data})
    with pytest.raises(BaseModelError, match="lists no model"):
        models_of(server)


def test_the_connections_of_a_server_that_nobody_uses_are_closed(peer: Any) -> None:
    gc.collect()
    known = set(threading.enumerate())
    server = RemoteServer(peer.url)
    assert list(server.stream({}, lambda: False))
    (thread,) = [each for each in set(threading.enumerate()) - known if each.name == "loraloop-remote"]
    client = server._client
    del server
    gc.collect()
    thread.join(30)
    assert not thread.is_alive() and client is not None and client.is_closed


def test_a_skill_as_a_function_is_checked_too(connect: Callable[..., Runtime]) -> None:
    runtime = connect(DOUBLE, "no list")
    assert runtime.skills.tools("Double 2.", [double]).calls[0].arguments == {"n": 2}
    with pytest.raises((SchemaError, LimitError)):
        runtime.skills.tools("Double 2.", [double])


FENCED = Lark('start: "```python\\n" /[a-z]+ = [0-9]+/ "\\n```"', python=True)


@pytest.mark.parametrize(
    ("term", "kind", "fields"),
    [
        (JsonSchema(SCHEMA), "vllm", {"structured_outputs": {"json": SCHEMA}}),
        (Regex("[0-9]+"), "vllm", {"structured_outputs": {"regex": "[0-9]+"}}),
        (Choice(("yes", "no")), "vllm", {"structured_outputs": {"choice": ["yes", "no"]}}),
        (Regex("[0-9]+"), "sglang", {"regex": "[0-9]+"}),
        (Choice(("a.", "b")), "sglang", {"regex": r"a\.|b"}),
        (Regex("[0-9]+"), "openai", {}),
        (FENCED, "openai", {}),
    ],
)
def test_each_kind_of_server_is_asked_in_its_way(term: Any, kind: Any, fields: dict[str, Any], base: Any) -> None:
    compiler = GrammarCompiler(base.vocabulary)
    assert RemoteGrammar(term, compiler.compile(term), base.tokenizer.encode).fields(kind) == fields


@pytest.mark.parametrize(
    ("term", "text", "read"),
    [
        (JsonSchema(SCHEMA), ' {"n" : 3}\n', '{"n":3}'),
        (JsonSchema(SCHEMA), '{"n": "3"}', None),
        (JsonSchema(SCHEMA), '{"n": 3', None),
        (Regex("[0-9]+"), "42", "42"),
        (Regex("[0-9]+"), "forty", None),
        (Choice(("yes", "no")), '"no"', "no"),
        (Choice(('say "no"', "ja")), r'"say \"no\""', 'say "no"'),
        (Choice(("yes", "no")), "maybe", None),
        (FENCED, "Here:\n```python\nx = 1\n```\nDone.", "```python\nx = 1\n```"),
        (FENCED, "x = 1", "```python\nx = 1\n```"),
        (FENCED, "Sorry.", None),
    ],
)
def test_what_a_server_wrote_is_checked_here(term: Any, text: str, read: str | None, base: Any) -> None:
    compiler = GrammarCompiler(base.vocabulary)
    grammar = RemoteGrammar(term, compiler.compile(term), base.tokenizer.encode)
    if read is not None:
        assert grammar.read(text) == read
        return
    with pytest.raises(SchemaError):
        grammar.read(text)


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), st.text("ab", min_size=1))))
def test_messages_take_a_form_that_every_template_takes(messages: list[tuple[str, str]]) -> None:
    found = laid_out([Message(role, content) for role, content in messages])
    roles = [each["role"] for each in found]
    assert all(one != other for one, other in itertools.pairwise(roles))
    assert "tool" not in roles and "system" not in roles[1:]
    rest = "\n\n".join(each["content"] for each in found)
    for _, content in messages:
        assert content in rest
        rest = rest[rest.index(content) + len(content) :]


def test_a_key_is_sent(peer: Any, connect: Callable[..., Runtime]) -> None:
    Agent(connect(key="s3cret")).run_sync("Hi.", skill="none")
    assert peer.keys == ["Bearer s3cret"] * 2


def test_the_line_end_of_a_file_is_no_part_of_a_key(peer: Any, connect: Callable[..., Runtime]) -> None:
    Agent(connect(key="s3cret\n")).run_sync("Hi.", skill="none")
    assert peer.keys == ["Bearer s3cret"] * 2
