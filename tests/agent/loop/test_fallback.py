"""The fallback writes where the router abstains or a check has failed twice, under every check; nothing else leaves."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloop import Agent, Fallback, Limits, Policy, RunResult, Runtime, Tracer
from loraloop.adapters.skill.contracts import Verdict, agreement_text
from loraloop.agent import Guard, Tokens, auto_approve, events
from loraloop.agent.engine.remote import fallback as module
from loraloop.agent.guard.guard import Gate
from loraloop.agent.loop.route import is_handed_over
from loraloop.agent.values.step import Decision, RouteRecord, Step
from loraloop.router.decision import NONE, Route, RouterState
from loraloop.testing import ScriptedRouter, ScriptedRuntime, calls, text
from loraloop.testing.runtime import SKILLS
from loraloop.tool_schemas.errors import InputError, UnknownNameError
from loraloop.tool_schemas.http.client import Retries

UNSURE = "?"
EXTEND = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}


class Unsure(ScriptedRouter):
    """Abstains where its list has `?`."""

    def choose(self, features: Any, state: RouterState) -> Route:
        if not self.script or self.script[0] != UNSURE:
            return super().choose(features, state)
        self.script.popleft()
        masked = tuple(sorted(state.masked))
        return Route(NONE, 0.3, abstained=True, runners_up=(("code", 0.4),), masked=masked, threshold=0.5)


@pytest.fixture
def done() -> list[str]:
    """The orders that the tool `extend` extended."""
    return []


@pytest.fixture
def extend(done: list[str]) -> Callable[[str], str]:
    def extend(order_id: str) -> str:
        """Extends an order."""
        done.append(order_id)
        return "extended by 17 days"

    return extend


def scripted(*steps: Any, routes: str = "", **options: Any) -> ScriptedRuntime:
    """A runtime whose router abstains where `routes`, a list of words, has `?`."""
    return ScriptedRuntime(*steps, router=Unsure(routes.split()), **options)


def asked(call: str) -> str:
    return json.dumps([{"name": "extend", "arguments": {"order_id": call}}])


def writers(result: RunResult[Any]) -> list[tuple[str, str, str]]:
    return [(step.skill, step.outcome, step.written_by) for step in result.steps]


def test_where_the_router_abstains_the_fallback_writes_and_the_trace_says_so(
    peer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIG_KEY", "secret-of-big")
    peer.answers += ["It is an ox<|im_end|>bow lake."]
    runtime, tracer = scripted("Sure.", routes="? none"), Tracer(keep=1)
    agent = Agent(runtime, instructions="Be brief.", hooks=[tracer], fallback=Fallback(peer.url, key_env="BIG_KEY"))
    stream = agent.stream("What is this?")
    told = [event for event in stream if isinstance(event, events.SkillActivated | events.TokenGenerated)]
    result = stream.result
    assert result.output == "It is an ox<|im_end|>bow lake." and runtime.turns == []
    assert writers(result) == [("none", "text", "model")] and result.steps[0].route.abstained
    assert [getattr(event, "written_by", None) or getattr(event, "text", None) for event in told] == [
        "model",
        *[event.text for event in told if isinstance(event, events.TokenGenerated)],
    ]
    (body,) = peer.bodies
    assert [each["content"] for each in body["messages"]] == ["Be brief.", "What is this?"]
    assert set(peer.keys) == {"Bearer secret-of-big"}
    assert result.steps[0].tokens.reused == 30, "by the server's count"
    trace = tracer.last.to_json()
    assert '"written_by":"model"' in trace and "secret-of-big" not in trace + repr(agent.fallback)
    result = agent.run_sync("And this?", messages=result.messages)
    assert writers(result) == [("none", "text", "")] and len(peer.bodies) == 1, "a sure router keeps it here"


def test_where_the_router_abstains_the_fallback_may_call_tools(
    peer: Any, extend: Callable[[str], str], done: list[str]
) -> None:
    peer.answers += [asked("B-7")]
    runtime = scripted("It is extended by 17 days.", routes="?")
    result = Agent(runtime, [extend], fallback=Fallback(peer.url, "big")).run_sync("Extend B-7.")
    assert writers(result) == [("tools", "calls", "big"), ("none", "text", "")] and done == ["B-7"]
    assert result.steps[0].decided_by == "loop" and result.steps[0].route.abstained
    (body,) = peer.bodies
    assert body["model"] == "big" and body["response_format"]["json_schema"]["schema"]["type"] == "array"
    assert "JSON list of the calls" in body["messages"][-1]["content"]


def test_what_the_fallback_began_it_ends(peer: Any, extend: Callable[[str], str]) -> None:
    peer.answers += ["[]", "Hello!"]
    result = Agent(scripted(routes="? none"), [extend], fallback=Fallback(peer.url)).run_sync("Hi.")
    assert writers(result) == [("tools", "no_call", "model"), ("none", "text", "model")]
    assert result.output == "Hello!" and "response_format" not in peer.bodies[1]


def test_a_call_of_the_fallback_passes_every_check(peer: Any, extend: Callable[[str], str], done: list[str]) -> None:
    invalid, nowhere = '[{"name": "extend", "arguments": {"order": 7}}]', asked("A-12")
    peer.answers += [invalid, nowhere, nowhere, "Which order?"]
    result = Agent(scripted(routes="?"), [extend], fallback=Fallback(peer.url)).run_sync("Extend my order.")
    assert [outcome for _, outcome, _ in writers(result)] == ["invalid", "ungrounded", "ungrounded", "text"]
    assert {by for _, _, by in writers(result)} == {"model"} and done == [] and result.output == "Which order?"
    peer.answers += [asked("B-7"), asked("B-7")]
    policy = Policy(needs_approval={"extend"})
    agent = Agent(scripted("Done.", routes="? ? none"), [extend], policy=policy, fallback=Fallback(peer.url))
    result = agent.run_sync("Extend B-7.")
    assert result.stop_reason == "approval" and done == []
    result = agent.run_sync("Extend B-7.", policy=Policy(needs_approval={"extend"}, approve=auto_approve))
    assert done == ["B-7"] and result.output == "Done."


def test_the_guard_judges_before_the_text_leaves_and_what_comes_back(peer: Any) -> None:
    runtime = scripted(Verdict(True, "violence"), Verdict(True, "violence"), routes="? ?")
    runtime.router.unsafe.extend([True, False, True])  # type: ignore[attr-defined]
    guard = Guard(output=Gate())
    agent = Agent(runtime, fallback=Fallback(peer.url), guard=guard)
    assert agent.run_sync("Bombs?").stop_reason == "refused" and peer.bodies == []
    peer.answers += ["Take a bomb."]
    stream = agent.stream("And now?")
    shown = "".join(event.text for event in stream if isinstance(event, events.TokenGenerated) and event.skill == NONE)
    assert len(peer.bodies) == 1 and "bomb" not in shown + stream.result.output
    assert all("Take a bomb" not in message.content for message in stream.result.messages)


def nowhere_twice() -> list[Any]:
    return [calls(extend={"order_id": "A-12"}), calls(extend={"order_id": "A-13"})]


def test_a_value_that_nobody_gave_twice(peer: Any, extend: Callable[[str], str], done: list[str]) -> None:
    peer.answers += [asked("B-7")]
    runtime = scripted(*nowhere_twice(), "Extended.", routes="tools")
    result = Agent(runtime, [extend], fallback=Fallback(peer.url)).run_sync("Extend b7.")
    assert writers(result)[:3] == [
        ("tools", "ungrounded", ""),
        ("tools", "ungrounded", ""),
        ("tools", "calls", "model"),
    ]
    assert done == ["B-7"] and result.output == "Extended." and result.steps[1].asked == ()
    assert "Nobody gave" in peer.bodies[0]["messages"][-1]["content"], "it sees what was wrong"


@pytest.mark.parametrize("kind", ["value", "contradiction"])
@pytest.mark.parametrize(("written", "output"), [("By 17 days.", "By 17 days."), ("By 433 days.", None)])
def test_an_answer_that_the_records_do_not_bear_out(
    peer: Any, extend: Callable[[str], str], written: str, output: str | None, kind: str
) -> None:
    peer.answers += [written]
    judged = [text(agreement_text(contradicts), "verdict") for contradicts in (True, False)]
    flawed = ["By 431 days."] if kind == "value" else ["Not extended.", judged[0]]
    skills = SKILLS if kind == "value" else {**SKILLS, "verdict": "agreement"}
    passed = judged[1:] if kind == "contradiction" and output else []
    runtime = scripted(calls(extend={"order_id": "B-7"}), *flawed, *passed, routes="tools", skills=skills)
    stream = Agent(runtime, [extend], fallback=Fallback(peer.url)).stream("Extend B-7.")
    told = [(event.again, len(event.flaws)) for event in stream if isinstance(event, events.AnswerFlawed)]
    result = stream.result
    runtime.assert_finished()
    assert [outcome for _, outcome, _ in writers(result)] == ["calls", "flawed", "text" if output else "flawed"]
    assert [by for _, _, by in writers(result)] == ["", "", "model"]
    assert told == [(True, 1), *([] if output else [(False, 1)])]
    assert "431" not in str(result.messages) and "Not extended" not in str(result.messages)
    assert result.output == (output or result.receipts[0].text), "the receipts have the last word"


@pytest.mark.parametrize("why", ["repairs", "steps", "lost"])
def test_without_a_fallback_that_may_write_the_receipts_are_the_answer(
    peer: Any, extend: Callable[[str], str], why: str
) -> None:
    options: dict[str, Any] = {"repairs": {"policy": Policy(repairs=0)}, "steps": {"limits": Limits(max_steps=2)}}
    runtime = scripted(calls(extend={"order_id": "B-7"}), "By 431 days.", "By 432 days.", routes="tools")
    peer.answers += [401]
    result = Agent(runtime, [extend], fallback=Fallback(peer.url), **options.get(why, {})).run_sync("Extend B-7.")
    assert result.output == result.receipts[0].text and result.stop_reason == "answer"
    assert len(peer.bodies) == (why == "lost") and all(not step.written_by for step in result.steps)


def test_a_run_that_ends_before_the_fallback_has_written_has_the_receipts(
    peer: Any, extend: Callable[[str], str]
) -> None:
    runtime = scripted(calls(extend={"order_id": "B-7"}), "By 431 days.", routes="tools")
    agent = Agent(runtime, [extend], fallback=Fallback(peer.url))
    stream = agent.stream("Extend B-7.")
    for event in stream:
        if isinstance(event, events.AnswerFlawed):
            stream.cancel()
    result = stream.result
    assert (result.stop_reason, result.output, peer.bodies) == ("cancelled", result.receipts[0].text, [])


def test_a_form_that_failed_twice(peer: Any) -> None:
    peer.answers += ['{"n": 7}']
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    runtime = scripted(*[text(f"no {n}", enforced=False) for n in range(3)])
    agent = Agent(runtime, output_type=schema, fallback=Fallback(peer.url), policy=Policy(repairs=1))
    result = agent.run_sync("A number.")
    assert [step.outcome for step in result.steps] == ["invalid", "invalid", "text"] and result.value == {"n": 7}
    assert result.steps[2].written_by == "model" and len(runtime.script.left) == 1


def test_steps_that_are_not_handed_over(peer: Any, extend: Callable[[str], str]) -> None:
    fallback = Fallback(peer.url)
    chosen = Agent(scripted("Hi.", routes="?"), fallback=fallback)
    assert writers(chosen.run_sync("Hi.", skill="none")) == [("none", "text", "")]
    once = scripted(calls(extend={"order_id": "A-12"}), calls(extend={"order_id": "B-7"}), "Done.", routes="tools")
    assert all(not by for _, _, by in writers(Agent(once, [extend], fallback=fallback).run_sync("Extend B7.")))
    last = scripted(*nowhere_twice(), "Which?", routes="tools")
    result = Agent(last, [extend], limits=Limits(max_steps=2), fallback=fallback).run_sync("Extend it.")
    assert result.stop_reason == "max_steps" and result.steps[1].asked == ("order_id",)
    assert peer.bodies == []
    assert Agent(scripted("Hi.", routes="?")).run_sync("Hi.").steps[0].written_by == "", "off unless asked for"


def breaks_off(handler: Any) -> None:
    handler.begin()
    handler.piece("Half of")


def no_stream(handler: Any) -> None:
    handler.begin()
    handler.wfile.write(b"data: {no json\n\n")


def filtered(handler: Any) -> None:
    handler.begin()
    handler.piece("Half of")
    handler.piece("", "content_filter")
    handler.wfile.write(b"data: [DONE]\n\n")


LOST = {
    "gone": None,
    "broken": 500,
    "refused": 401,
    "unknown": 404,
    "too long": 400,
    "half": breaks_off,
    "empty": "",
    "filtered": filtered,
}


@pytest.mark.parametrize("way", [*LOST, "junk"])
def test_a_fallback_that_does_not_write_changes_nothing(
    peer: Any, extend: Callable[[str], str], caplog: pytest.LogCaptureFixture, way: str
) -> None:
    def agent(fallback: Fallback | None) -> Agent[Any, Any]:
        steps = [*nowhere_twice(), *nowhere_twice()[1:], "Which order?", "Sure."]
        return Agent(scripted(*steps, routes="tools none none none ?"), [extend], fallback=fallback)

    fallback = Fallback("http://127.0.0.1:9/v1" if way == "gone" else peer.url, "big")
    fallback._server._retries = Retries(count=0)
    peer.answers += [no_stream if way == "junk" else LOST[way]] * 3
    with caplog.at_level(logging.WARNING, "loraloop"):
        stream = agent(fallback).stream("Extend my order.")
        shown = "".join(event.text for event in stream if isinstance(event, events.TokenGenerated) and event.answer)
    assert stream.result.output == "Which order?" == shown, (
        "the user is asked, as without it, and nothing is told twice"
    )
    assert all(not step.written_by for step in stream.result.steps)
    assert [record.levelname for record in caplog.records if "fallback" in record.getMessage()]
    assert fallback.ready == (way in ("unknown", "too long", "filtered")), "what fails for one request is asked again"


def test_a_fallback_that_could_not_be_reached_rests_for_a_minute(peer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: clock[0])
    fallback = Fallback(peer.url)
    fallback._server._retries = Retries(count=0)
    agent = Agent(scripted("One.", "Two.", routes="? ? ?"), fallback=fallback)
    peer.answers += [503, "Three."]
    assert [agent.run_sync("Hi.").output for _ in range(2)] == ["One.", "Two."] and len(peer.bodies) == 1
    clock[0] += module.REST
    assert agent.run_sync("Hi.").output == "Three."


def test_a_run_ends_while_the_fallback_writes(peer: Any) -> None:
    import threading

    free = threading.Event()
    peer.answers += [lambda handler: free.wait(30)]
    stream = Agent(scripted(routes="?"), fallback=Fallback(peer.url)).stream("Hi.")
    threading.Timer(0.5, stream.cancel).start()
    assert stream.finish().stop_reason == "cancelled" and stream.result.steps[0].written_by == "model"
    free.set()


def test_a_connected_runtime_may_have_one(peer: Any, one_base: None) -> None:
    runtime = Runtime.connect(peer.url)
    peer.answers += ["seven", "eight", '{"n":7}']
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    agent = Agent(runtime, output_type=schema, fallback=Fallback(peer.url, "big"))
    result = agent.run_sync("A number.", skill="none")
    assert [body["model"] for body in peer.bodies] == ["model", "model", "big"] and result.value == {"n": 7}


def test_what_is_no_fallback(peer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="NO_SUCH_KEY is empty"):
        Fallback(peer.url, key_env="NO_SUCH_KEY")
    monkeypatch.setenv("BLANK_KEY", " \n")
    with pytest.raises(InputError, match="BLANK_KEY is empty"):
        Fallback(peer.url, key_env="BLANK_KEY")
    with pytest.raises(InputError, match="https://host/v1"):
        Fallback("host:8000")
    with pytest.raises(UnknownNameError, match="openai"):
        Fallback(peer.url, engine="opnai")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"give Fallback\(…\)"):
        Agent(scripted(), fallback=peer.url)


BY = ["router", "policy", "screen", "caller", "repair", "retry", "ask", "loop"]
STEP = st.builds(
    lambda by, outcome, kept, writer: Step(
        0, NONE, by, RouteRecord(), outcome, kept, "", tokens=Tokens(written_by=writer)
    ),
    st.sampled_from(BY),
    st.sampled_from(["text", "invalid", "calls"]),
    st.booleans(),
    st.sampled_from(["", "model"]),
)


@given(st.sampled_from(BY), st.booleans(), st.lists(STEP, max_size=3))
def test_which_steps_are_handed_over(by: str, abstained: bool, steps: list[Step]) -> None:
    handed = is_handed_over(Decision(NONE, by, RouteRecord(abstained=abstained)), steps)
    if by in ("policy", "caller", "screen"):
        assert not handed, "somebody else chose"
    elif by in ("router", "loop") and abstained:
        assert handed
    elif handed:
        last = steps[-1]
        assert last.written_by or (by == "repair" == last.decided_by)
