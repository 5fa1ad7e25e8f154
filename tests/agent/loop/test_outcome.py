"""The table of outcomes: each row, as a function and in the loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from loraloop.adapters.base import Message
from loraloop.adapters.base.prompting import SMALL, Prompting
from loraloop.agent import Agent, Gate, Guard, Limits, Policy, RunResult, Runtime
from loraloop.agent.loop.outcome import Facts, outcome_of
from loraloop.agent.values.calls import call_key
from loraloop.testing import ScriptedRuntime, assert_called, assert_routes
from loraloop.tool_schemas.tools.calls import Call
from loraloop.tool_schemas.tools.tool import Tool

Play = Callable[..., ScriptedRuntime]


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


ADD = Tool.from_function(add)
HANDED = Tool("handed", "Somebody else runs it.")
CALL = '[{"name":"add","arguments":{"a":1,"b":2}}]'
CODE = "```python\nprint(1 + 1)\n```"
ANSWER = '{"answerable":true,"citations":["1"],"answer":"Ada."}'
UNSAFE = '{"verdict":"unsafe","category":"crime"}'
KEY = call_key(Call("add", {"b": 2, "a": 1}))


@pytest.mark.parametrize(
    ("contract", "text", "facts", "name", "keep", "stop"),
    [
        ("calls", CALL, Facts((ADD,)), "calls", True, None),
        ("calls", "[]", Facts((ADD,)), "no_call", False, None),
        ("calls", CALL, Facts((ADD,), answered={KEY}), "repeated", False, None),
        ("calls", CALL, Facts((ADD,), answered={KEY}, repeat=True), "calls", True, None),
        ("calls", CALL, Facts((ADD,), calls_left=0), "calls", False, "max_tool_calls"),
        ("code", CODE, Facts(python=True, calls_left=0), "code", True, "max_tool_calls"),
        ("calls", '[{"name":"handed","arguments":{}}]', Facts((ADD, HANDED)), "tool_call", True, "tool_call"),
        ("calls", CALL, Facts((ADD,), limit="max_tokens"), "truncated", False, "max_tokens"),
        ("answer", ANSWER, Facts(), "answer", True, "answer"),
        ("answer", ANSWER, Facts(go_on=True), "answer", True, None),
        ("answer", '{"answerable":false}', Facts(), "not_answerable", False, None),
        ("code", CODE, Facts(), "code", True, "code"),
        ("code", "```python\n", Facts(flaw="it does not parse"), "invalid", False, None),
        ("verdict", UNSAFE, Facts(), "unsafe", False, "refused"),
        ("verdict", '{"verdict":"safe"}', Facts(), "safe", False, None),
        ("code", CODE, Facts(), "code", True, "code"),
        ("code", CODE, Facts(python=True), "code", True, None),
        ("code", CODE, Facts(limit="deadline"), "truncated", True, "deadline"),
        ("text", "Hello.", Facts(), "text", True, "answer"),
    ],
)
def test_what_a_text_means(contract: str, text: str, facts: Facts, name: str, keep: bool, stop: str | None) -> None:
    outcome = outcome_of(contract, text, facts)
    assert (outcome.name, outcome.keep, outcome.stop) == (name, keep, stop)
    if facts.limit is not None or stop == "max_tool_calls":  # JSON that nobody acted on is no answer
        assert outcome.output == (text if contract in ("text", "code") else "")


def roles(messages: tuple[Message, ...]) -> list[str]:
    return [message.role for message in messages]


def test_calls_stay_with_their_results_and_the_run_routes_again(play: Play) -> None:
    runtime = play([CALL, "Three."], "tools")
    result = Agent(runtime, [add]).run_sync("1 + 2?")
    assert roles(result.messages) == ["system", "user", "assistant", "tool", "assistant"]
    assert result.messages[2].content == CALL
    assert result.messages[3].content == '{"name":"add","result":3}'
    assert (result.output, result.stop_reason) == ("Three.", "answer")
    assert [step.outcome for step in result.steps] == ["calls", "text"]
    assert [state.after for state in runtime.router.states] == ["user", "tool"]
    (call,) = assert_called(result, "add", {"a": 1, "b": 2}, times=1)
    assert call is result.steps[0].calls[0] and result.steps[0].calls[0].result == 3


def test_no_call_leaves_nothing_and_masks_tools(play: Play) -> None:
    runtime = play(["[]", "Which city?"], "tools", "tools")
    result = Agent(runtime, [add]).run_sync("weather?")
    assert roles(result.messages) == ["system", "user", "assistant"]
    assert_routes(result, ["tools", "none"])
    last = runtime.router.states[-1]
    assert last.after == "dropped" and "tools" in last.masked
    assert result.steps[1].tokens.prefilled == 0  # the trunk is as it was


def test_a_repeated_call_is_dropped_and_masks_tools(play: Play) -> None:
    result = Agent(play([CALL, CALL, "Three."], "tools", "tools"), [add]).run_sync("1 + 2?")
    assert [step.outcome for step in result.steps] == ["calls", "repeated", "text"]
    assert roles(result.messages) == ["system", "user", "assistant", "tool", "assistant"]


def test_a_repeat_beside_a_new_call_gets_the_earlier_result(play: Play) -> None:
    ran: list[int] = []

    def note(x: int) -> int:
        ran.append(x)
        return len(ran)

    one = '{"name":"note","arguments":{"x":1}}'
    result = Agent(
        play([f"[{one}]", f'[{one},{{"name":"note","arguments":{{"x":2}}}},{one}]', "Done."], "tools", "tools"), [note]
    ).run_sync("note")
    assert ran == [1, 2]
    assert [(call.result, call.repeated) for call in result.steps[1].calls] == [(1, True), (2, False), (1, True)]


def test_policy_may_allow_repeats(play: Play) -> None:
    agent = Agent(play([CALL, CALL, "Three."], "tools", "tools"), [add], policy=Policy(repeat_calls=True))
    assert [step.outcome for step in agent.run_sync("1 + 2?").steps] == ["calls", "calls", "text"]


def test_a_call_without_an_implementation_is_the_output(play: Play) -> None:
    agent = Agent(play(['[{"name":"handed","arguments":{}}]'], "tools"), [HANDED])
    result = agent.run_sync("do it")
    assert (result.stop_reason, result.output) == ("tool_call", '[{"name":"handed","arguments":{}}]')
    assert result.calls == (Call("handed", {}),)
    agent.runtime.say("Done.")
    told = Message("tool", '{"name":"handed","result":"ok"}')
    after = agent.run_sync(messages=[*result.messages, told])
    assert after.output == "Done." and agent.runtime.router.states[-1].after == "tool"


def test_an_answer_ends_the_run_with_its_citations(play: Play) -> None:
    result = Agent(play([ANSWER], "retrieval")).run_sync("Who?", passages=["Ada wrote it."])
    assert (result.output, result.citations, result.stop_reason) == ("Ada.", ("1",), "answer")
    assert result.messages[-1].content == ANSWER


def test_an_answer_may_be_followed_by_another_route(play: Play) -> None:
    runtime = play([ANSWER, "So it was Ada."], "retrieval", "retrieval")
    result = Agent(runtime, policy=Policy(after_answer="route")).run_sync("Who?", passages=["Ada wrote it."])
    assert result.output == "So it was Ada." and result.citations == ("1",)
    assert "retrieval" in runtime.router.states[-1].masked


def test_not_answerable_leaves_nothing_and_masks_retrieval(play: Play) -> None:
    runtime = play(['{"answerable":false}', "The passages do not say."], "retrieval", "retrieval")
    result = Agent(runtime).run_sync("Who?", passages=["Nothing."])
    assert [step.outcome for step in result.steps] == ["not_answerable", "text"]
    assert runtime.router.states[-1].after == "dropped" and "retrieval" in runtime.router.states[-1].masked
    assert roles(result.messages) == ["user", "assistant"]


@pytest.mark.parametrize("prompting", [Prompting(), Prompting(no_answer="Say no."), Prompting(no_answer="")])
def test_the_base_is_told_in_its_branch_that_the_passages_hold_no_answer(play: Play, prompting: Prompting) -> None:
    runtime = play(['{"answerable":false}', "The passages do not say."], "retrieval", "retrieval")
    runtime.base.prompting = prompting
    result = Agent(runtime).run_sync("Who?", passages=["Nothing."])
    searched, answered = (turn.extra_prompt for turn in runtime.turns)
    assert "user" not in searched and ("user" in answered) == bool(prompting.no_answer)
    assert prompting.no_answer.replace("{titles}", "the documents") in answered
    assert roles(result.messages) == ["user", "assistant"], "the transcript does not hold it"


def test_after_a_result_the_base_is_told_to_use_it_instead(play: Play) -> None:
    """Passages had no answer; a tool did."""
    runtime = play(['{"answerable":false}', CALL, "It is 3."], "retrieval", "tools")
    runtime.base.prompting = SMALL
    Agent(runtime, [add]).run_sync("Who?", passages=["Nothing."])
    assert (
        SMALL.after_result in runtime.turns[-1].extra_prompt and SMALL.no_answer not in runtime.turns[-1].extra_prompt
    )


@pytest.mark.parametrize(
    "prompting", [SMALL, replace(SMALL, after_result="Say it."), replace(SMALL, name_results=False), Prompting()]
)
def test_the_base_is_told_in_its_branch_what_the_calls_gave(play: Play, prompting: Prompting) -> None:
    runtime = play([CALL, "It is 3."], "tools")
    runtime.base.prompting = prompting
    result = Agent(runtime, [add]).run_sync("What is 1 and 2?")
    told = bool(prompting.after_result and prompting.name_results)
    assert (f"{prompting.after_result} The result is 3." in runtime.turns[-1].extra_prompt) == told
    assert (
        prompting.after_result in runtime.turns[-1].extra_prompt
        and "The result is" not in runtime.turns[0].extra_prompt
    )
    assert not any("The result is" in message.content for message in result.messages)


def test_a_base_that_answers_where_nothing_was_called_is_told_so(play: Play) -> None:
    runtime = play(["[]", "Which order?"], "tools", "tools")
    result = Agent(runtime, [add]).run_sync("Cancel my order.")
    assert runtime.base.prompting.no_call in runtime.turns[-1].extra_prompt and result.output == "Which order?"
    assert roles(result.messages) == ["system", "user", "assistant"], "the transcript does not hold it"
    runtime = play([CALL, "[]", "It is 3."], "tools", "tools")
    Agent(runtime, [add]).run_sync("What is 1 and 2?")
    assert runtime.base.prompting.no_call not in runtime.turns[-1].extra_prompt, "there is a result to answer from"


def test_a_base_that_would_answer_with_a_call_is_told_to_use_words(
    make_runtime: Callable[..., Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its branch alone, and only where it would begin so."""

    def run(*openers: int, words: str = Prompting().plain_words) -> RunResult:
        runtime = make_runtime("none")
        if openers:
            monkeypatch.setattr(runtime.base.vocabulary, "beginning", lambda characters: torch.tensor(openers))
        monkeypatch.setattr(runtime.base, "prompting", Prompting(plain_words=words))
        return Agent(runtime, [add], limits=Limits(step_tokens=60)).run_sync("go")

    plain = run()
    first = plain.steps[0].text
    begun = make_runtime("none").base.tokenizer.encode(first)[0]
    told, untold = run(begun), run(begun, words="")
    assert len({first, told.steps[0].text, untold.steps[0].text}) == 3
    assert run(begun + 1).steps[0].text == first
    assert [message.content for message in told.messages] == [*(m.content for m in plain.messages[:-1]), told.output]


def test_unsafe_leaves_the_refusal_and_ends_the_run(play: Play) -> None:
    result = Agent(play([UNSAFE], unsafe=[True])).run_sync("How do I rob a bank?")
    assert (result.stop_reason, result.category) == ("refused", "crime")
    assert result.output == Guard().refusal == result.messages[-1].content
    assert result.steps[0].decided_by == "screen" and not result.steps[0].kept


def test_safe_leaves_nothing_and_is_not_screened_again(play: Play) -> None:
    runtime = play(['{"verdict":"safe"}', "[]", "Hello."], "tools", unsafe=[True, True, True])
    result = Agent(runtime, [add]).run_sync("How do I kill a process?")
    assert [step.outcome for step in result.steps] == ["safe", "no_call", "text"]
    assert runtime.router.screened == 1
    assert runtime.router.states[0].after == "user"


def test_tool_results_are_screened_each(play: Play) -> None:
    two = CALL[:-1] + ',{"name":"add","arguments":{"a":3,"b":4}}]'
    runtime = play([two, UNSAFE], "tools", unsafe=[False, True, False])
    result = Agent(runtime, [add], guard=Guard(tools=Gate())).run_sync("add")
    assert runtime.router.screened == 3 and result.stop_reason == "refused"
    runtime = play([two, UNSAFE, "Fine."], "tools", unsafe=[False, True, False])
    result = Agent(runtime, [add]).run_sync("add")
    assert runtime.router.screened == 3 and result.output == "Fine." and result.stop_reason == "answer"
    runtime = play([two, "Fine."], "tools", unsafe=[False, True])
    result = Agent(runtime, [add], guard=Guard(tools=None)).run_sync("add")
    assert runtime.router.screened == 1 and result.output == "Fine."


def test_code_ends_the_run_without_a_python_tool(play: Play) -> None:
    result = Agent(play([CODE], "code")).run_sync("print two")
    assert (result.output, result.stop_reason) == (CODE, "code")
    assert result.messages[-1] == Message("assistant", CODE)


def test_code_with_the_python_tool_leaves_its_result_too(play: Play) -> None:
    runtime = play([CODE, CODE, "Two."], "code", "code")
    result = Agent(runtime, python=True).run_sync("print two")
    assert roles(result.messages) == ["user", "assistant", "tool", "assistant"]
    assert result.messages[2].content == '{"name":"python","result":"2\\n"}'
    assert [step.outcome for step in result.steps] == ["code", "repeated", "text"]
    assert runtime.router.states[0].python


@pytest.mark.parametrize(
    ("program", "stop", "output"),
    [("x = 1", "code", "```python\nx = 1\n```"), ("1 / 0", "answer", "Oh."), ("print()", "answer", "Oh.")],
)
def test_a_program_that_prints_nothing_is_the_answer(play: Play, program: str, stop: str, output: str) -> None:
    result = Agent(play([f"```python\n{program}\n```", "Oh."], "code"), python=True).run_sync("go")
    assert (result.stop_reason, result.output) == (stop, output)
    assert result.messages[2].role == "tool" and len(result.steps[0].calls) == 1


def test_a_form_is_still_answered_after_a_program_that_prints_nothing(play: Play) -> None:
    result = Agent(play(["```python\nx = 1\n```", "3"], "code"), python=True, output_type=int).run_sync("go")
    assert (result.stop_reason, result.value) == ("answer", 3)


def test_none_ends_the_run(play: Play) -> None:
    result = Agent(play(["Hi."])).run_sync("Hello")
    assert (result.output, result.stop_reason, result.steps[0].skill) == ("Hi.", "answer", "none")
