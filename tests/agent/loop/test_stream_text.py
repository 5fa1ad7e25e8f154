"""The text of a run's answer alone: what it yields, and that nothing is yielded which does not stay."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.skill.contracts import answer_of
from loraloop.agent import Agent, Gate, Guard, Limits, Policy, RunResult, Runtime, Sampling
from loraloop.agent.events import TokenGenerated
from loraloop.testing import ScriptedRouter, ScriptedRuntime, answer, calls, code, text, verdict
from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.tools.tool import Tool

MakeRuntime = Callable[..., Runtime]
LOOK = calls(look={"word": "a"})
WAITS = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}


def look(word: str) -> str:
    """Looks a word up."""
    return "the first letter"


def pick(color: Literal["red", "green"]) -> str:
    """Picks."""
    return color


def read(script: Sequence[Any], tools: Sequence[Any] = (), run: Any = (), **settings: Any) -> tuple[str, RunResult]:
    router = ScriptedRouter(unsafe=settings.pop("unsafe", ()))
    agent = Agent(ScriptedRuntime(*script, router=router if router.unsafe else None), tools, **settings)
    stream = agent.stream_text("What is a?", **dict(run))
    return "".join(stream), stream.result


def test_the_answer_alone_comes_and_nothing_of_the_calls_before_it() -> None:
    streamed, result = read([LOOK, "It is the first letter."], [look])
    assert streamed == result.output == "It is the first letter." and result.steps[0].calls


def test_the_text_comes_while_it_is_written() -> None:
    stream = Agent(ScriptedRuntime("It is the first letter.")).stream_text("What is a?")
    first = next(iter(stream))
    with pytest.raises(InputError, match="has not ended"):
        _ = stream.result
    pieces = [first, *stream]
    assert len(pieces) > 3 and "".join(pieces) == stream.result.output == "It is the first letter."


def test_an_answer_that_is_checked_comes_when_it_has_passed() -> None:
    runtime = ScriptedRuntime(LOOK, "It is the first letter.", LOOK, "It has 99 pages.")
    agent = Agent(runtime, [look])
    for outcome in ("text", "flawed"):
        stream = agent.stream_text("What is a?")
        assert list(stream) == [stream.result.output]
        assert [step.outcome for step in stream.result.steps] == ["calls", outcome]


@pytest.mark.parametrize(
    ("script", "options", "expected"),
    [
        ([answer("Ada.", ["1"])], {"run": {"passages": ["It was Ada."]}}, "Ada."),
        ([answer(), "Nobody knows."], {"run": {"passages": ["x"]}}, "Nobody knows."),
        ([code("print(1)")], {}, "```python\nprint(1)\n```"),
        ([code("print(1)"), "It printed 1."], {"python": True}, "It printed 1."),
        ([verdict("crime")], {"unsafe": [True]}, Guard().refusal),
        (
            ["The key is 4417.", verdict("privacy")],
            {"guard": Guard(input=None, output=Gate(screen=0))},
            Guard().refusal,
        ),
        (["The key is 4417.", verdict()], {"guard": Guard(input=None, output=Gate(screen=0))}, "The key is 4417."),
        (["[1,2]"], {"output_type": list[int]}, "[1,2]"),
        ([text("one", enforced=False), "[1]"], {"output_type": list[int]}, "[1]"),
        ([text("one", enforced=False)], {"output_type": list[int], "policy": Policy(repairs=0)}, ""),
        ([calls(wait={"word": "a"})], {"tools": [Tool("wait", "Waits.", WAITS)]}, ""),
        ([LOOK], {"tools": [look], "policy": Policy(needs_approval={"look"})}, ""),
        ([LOOK], {"tools": [look], "limits": Limits(max_steps=1)}, ""),
        (["Twelve bytes"], {"limits": Limits(step_tokens=6)}, "Twelve"),
    ],
)
def test_every_end_of_a_run(script: list[Any], options: dict[str, Any], expected: str) -> None:
    streamed, result = read(script, **options)
    assert streamed == expected
    assert streamed in (result.output, "")


def test_a_text_that_may_yet_be_dropped_is_not_marked_as_the_answer() -> None:
    stream = Agent(ScriptedRuntime(LOOK, text("one", enforced=False), "[1]"), [look], output_type=list[int]).stream(
        "Go."
    )
    told = [event for event in stream if isinstance(event, TokenGenerated)]
    assert told and not any(event.answer for event in told)
    told = [event for event in Agent(ScriptedRuntime("One.")).stream("Go.") if isinstance(event, TokenGenerated)]
    assert told and all(event.answer for event in told)


@settings(max_examples=40, deadline=None)
@given(
    skills=st.lists(st.sampled_from(["tools", "code", "retrieval", "prose", "none"]), max_size=3),
    seed=st.integers(0, 2**16),
    steps=st.integers(1, 4),
    tokens=st.integers(20, 90),
    typed=st.booleans(),
)
def test_whatever_a_run_does_the_pieces_are_its_output(
    small: Any, small_bank: Any, skills: list[str], seed: int, steps: int, tokens: int, typed: bool
) -> None:
    runtime = Runtime(small, small_bank, ScriptedRouter(skills))
    agent = Agent(
        runtime, [pick], limits=Limits(max_steps=steps, step_tokens=tokens, run_tokens=150),
        sampling=Sampling(temperature=1.5, seed=seed), policy=Policy(max_calls=1, after_answer="route"),
    )  # fmt: skip
    stream = agent.stream_text("go", passages=["x"], output_type=Literal["yes", "no"] if typed else None)
    streamed = "".join(stream)
    called = stream.result.stop_reason in ("invalid", "tool_call", "approval")
    assert streamed == ("" if called else stream.result.output)
    for step in stream.result.steps:
        if step.skill == "tools":
            assert not step.text or step.text not in streamed
        if step.skill == "retrieval" and step.kept:
            assert step.text not in streamed and answer_of(step.text).answerable


def test_it_can_be_read_in_a_loop_and_left_early(make_runtime: MakeRuntime) -> None:
    async def main() -> tuple[list[str], str]:
        agent = Agent(ScriptedRuntime(LOOK, "It is the first letter."), [look], policy=Policy(answers="free"))
        stream = agent.stream_text("What is a?")
        return [piece async for piece in stream], stream.result.output

    pieces, output = asyncio.run(main())
    assert len(pieces) > 3 and "".join(pieces) == output == "It is the first letter."
    runtime = make_runtime()
    with Agent(runtime).stream_text("go") as stream:
        assert next(iter(stream))
    (trunk,) = runtime.engine.store._kept
    assert [span.message.role for span in trunk.messages] == ["user"]
