"""A run that is interrupted after any of its steps, or before any of its calls, comes to what it comes to otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from loraloop import Agent, Limits, Policy, Sampling, ToolRetry
from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, Message
from loraloop.agent import Runtime
from loraloop.agent.events import RunStarted, StepFinished, ToolCallStarted
from loraloop.agent.sessions.sessions import Sessions
from loraloop.agent.values.result import RunResult
from loraloop.testing import ScriptedRouter, ScriptedRuntime, answer, calls, code, text, verdict
from loraloop.tool_schemas import Tool


class City(BaseModel):
    name: str


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


def book(table: Literal[1, 2]) -> str:
    """Books; table 1 is taken."""
    if table == 1:
        raise ToolRetry("that table is taken")
    return "booked"


def listing(rows: int) -> list[str]:
    """Lists."""
    return [f"row {number} of a long list" for number in range(rows)]


LOOSE = Tool.from_function(add, name="loose", strict=False)
CASES: dict[str, tuple[Sequence[Any], dict[str, Any], dict[str, Any]]] = {
    "several calls": (
        [calls(add={"a": 1, "b": 2}), calls(("add", {"a": 3, "b": 4}), ("add", {"a": 1, "b": 2})), "3 and 7."],
        {"tools": [add]},
        {},
    ),
    "nothing fits": ([calls(), "I cannot."], {"tools": [add]}, {}),
    "a forced choice each": (
        [calls(add={"a": 1, "b": 2}), code("print(1)"), "Done."],
        {"tools": [add], "python": True, "policy": Policy(skills=("tools", "code", "none"))},
        {},
    ),
    "required": (
        [calls(add={"a": 1, "b": 2}), calls(), "3."],
        {"tools": [add]},
        {"tool_choice": "required"},
    ),
    "a skill first": ([calls(add={"a": 1, "b": 2}), "3."], {"tools": [add]}, {"skill": "tools"}),
    "repairs": (
        [text('[{"name":"loose","arguments":{"a":"x"}}]', "tools"), calls(loose={"a": 1, "b": 2}), "3."],
        {"tools": [LOOSE]},
        {},
    ),
    "another try": (
        [calls(book={"table": 1}), calls(book={"table": 1}), calls(book={"table": 2}), "Table 2."],
        {"tools": [book], "policy": Policy(repeat_calls=True)},
        {},
    ),
    "too many tries": (
        [calls(book={"table": 1}), calls(book={"table": 1}), "Nothing is free."],
        {"tools": [book], "limits": Limits(tool_retries=1)},
        {},
    ),
    "another try of a forced skill": (
        ['[{"name":"book","arguments":{"table":1}}]', '[{"name":"book","arguments":{"table":2}}]', "Table 2."],
        {"tools": [book], "policy": Policy(skills=("tools",))},
        {},
    ),
    "passages": (
        [answer(), "It is not said."],
        {"tools": [add]},
        {"passages": [{"id": "a", "text": "Pears are green.", "title": "Pears", "source": "pears.md"}]},
    ),
    "an answer, then on": (
        [answer("Green.", ["a"]), calls(add={"a": 1, "b": 1}), "Green, and 2."],
        {"tools": [add], "policy": Policy(after_answer="route")},
        {"passages": [{"id": "a", "text": "Pears are green."}]},
    ),
    "screened": (
        [verdict(), calls(add={"a": 1, "b": 2}), verdict("fraud"), "I could not add them."],
        {"tools": [add]},
        {},
    ),
    "a limit of tokens": (
        [calls(add={"a": 1, "b": 2}), text("It is three, I think.")],
        {"tools": [add], "limits": Limits(run_tokens=60)},
        {},
    ),
    "a limit of calls": (
        [calls(add={"a": 1, "b": 2}), calls(add={"a": 1, "b": 3})],
        {"tools": [add], "limits": Limits(max_tool_calls=1)},
        {},
    ),
    "a typed answer": (
        [calls(add={"a": 1, "b": 2}), '{"name":"Oslo"}'],
        {"tools": [add], "output_type": City},
        {},
    ),
    "made shorter": (
        [calls(listing={"rows": 30}), calls(listing={"rows": 31}), "Two lists."],
        {"tools": [listing], "context": 1500, "limits": Limits(step_tokens=100, result_tokens=800)},
        {},
    ),
}  # fmt: skip


def bare(result: RunResult[Any]) -> RunResult[Any]:
    """A result without times and without what depends on what was in memory."""
    steps = tuple(
        replace(
            step,
            ms={},
            tokens=replace(step.tokens, prefilled=0, reused=0),
            weighed=step.weighed and replace(step.weighed, probability=round(step.weighed.probability, 4)),
            calls=tuple(replace(call, ms=0.0) for call in step.calls),
        )
        for step in result.steps
    )
    return replace(result, run_id="", ms=0.0, steps=steps)


def agent_of(runtime: Runtime, made: dict[str, Any]) -> Agent[Any, Any]:
    return Agent(runtime, **{key: value for key, value in made.items() if key != "context"})


def interrupted(agent: Agent[Any, Any], kind: type[Any], nth: int, prompt: str, **options: Any) -> bool:
    """Runs until the nth event of a kind and leaves the run there; whether it came to that."""
    stream = agent.stream(prompt, **options)
    for event in stream:
        nth -= isinstance(event, kind)
        if nth == 0:
            stream.close()
            return True
    return False


@pytest.mark.parametrize("case", CASES)
def test_interrupted_anywhere_it_comes_to_the_same(case: str, tmp_path: Path) -> None:
    script, made, asked = CASES[case]
    context = made.get("context")
    whole = agent_of(ScriptedRuntime(*script, context=context), made).run_sync("Do it.", **asked)
    assert bool(whole.compactions) == (case == "made shorter")
    kinds: list[type[Any]] = [RunStarted] + [ToolCallStarted, StepFinished] * 4
    resumed = 0
    over = set()
    with Sessions(tmp_path / "s.db") as store:
        for at, kind in enumerate(kinds):
            nth = kinds[: at + 1].count(kind)
            if kind in over:
                continue
            session = store.session(f"{kind.__name__} {nth}")
            agent = agent_of(ScriptedRuntime(*script, context=context), made)
            if not interrupted(agent, kind, nth, "Do it.", session=session, **asked):
                over.add(kind)
                continue
            assert session.state == "interrupted"
            journal = session.journal("").interrupted
            assert journal is not None
            left = script[len(journal.steps) :]
            runtime = ScriptedRuntime(*left, context=context)
            result = session.resume(agent_of(runtime, made))
            runtime.assert_finished()
            assert bare(result) == bare(whole), (kind, nth)
            assert session.state == "idle" and session.messages == whole.messages
            kept = session.result
            assert kept is not None and bare(replace(kept, value=whole.value)) == bare(whole)
            resumed += 1
    assert resumed >= len(script) + 1


def test_limits_go_on_counting(tmp_path: Path) -> None:
    script = [calls(add={"a": 1, "b": 2}), calls(add={"a": 2, "b": 2}), calls(add={"a": 3, "b": 2})]
    session = Sessions(tmp_path / "s.db").session("s")
    made = {"tools": [add], "limits": Limits(max_steps=3, deadline=60.0)}
    assert interrupted(agent_of(ScriptedRuntime(*script), made), StepFinished, 2, "Add.", session=session)
    before = session.journal("").interrupted
    assert before is not None and before.state.spent.seconds > 0
    stream = agent_of(ScriptedRuntime(script[2]), made).stream(session=session)
    events = list(stream)
    assert events[0].resumed and events[0].run_id == before.run_id  # type: ignore[attr-defined]
    assert stream.result.stop_reason == "max_steps" and len(stream.result.steps) == 3
    assert stream.result.ms / 1e3 >= before.state.spent.seconds


def test_a_deadline_counts_what_the_run_took_before(tmp_path: Path) -> None:
    session = Sessions(tmp_path / "s.db").session("s")

    def wait() -> str:
        """Waits."""
        import time

        time.sleep(0.3)
        return "waited"

    script = [calls(wait={}), "Done."]
    assert interrupted(Agent(ScriptedRuntime(*script), [wait]), StepFinished, 1, "Wait.", session=session)
    late = Agent(ScriptedRuntime("Done."), [wait], limits=Limits(deadline=0.3))
    assert session.resume(late).stop_reason == "deadline"


def test_sampling_goes_on_where_it_was(small: Base, small_bank: Bank, tmp_path: Path) -> None:
    limits, policy = Limits(step_tokens=60, max_steps=4), Policy(tool_choice="required", max_calls=1)

    def agent() -> Agent[Any, Any]:
        runtime = Runtime(small, small_bank, ScriptedRouter(["tools", "tools"]))
        return Agent(runtime, [pick], limits=limits, policy=policy, sampling=Sampling(temperature=1.0, seed=7))

    def pick(n: Literal[1, 2, 3, 4, 5, 6, 7, 8]) -> int:
        """Picks."""
        return n

    whole = agent().run_sync("Pick some.")
    session = Sessions(tmp_path / "s.db").session("s")
    assert interrupted(agent(), StepFinished, 1, "Pick some.", session=session)
    result = session.resume(agent())
    assert len(result.steps) > 1 and result.messages == whole.messages
    assert [step.text for step in result.steps] == [step.text for step in whole.steps]
    other = Agent(agent().runtime, [pick], limits=limits, policy=policy, sampling=Sampling(temperature=1.0, seed=8))
    assert other.run_sync("Pick some.").messages != whole.messages


def test_the_transcript_of_a_session_is_spliced_as_it_was_written(
    make_runtime: Callable[..., Any], tmp_path: Path
) -> None:
    """Tokens that a step wrote stay as they are in a later process too, though their text may be other tokens."""
    session = Sessions(tmp_path / "s.db").session("s")
    first = Agent(make_runtime(), limits=Limits(step_tokens=8))
    first.run_sync("Say something.", session=session)
    second = Agent(make_runtime(), limits=Limits(step_tokens=8))
    here, there = first.run_sync("More.", messages=session.messages), second.run_sync("More.", session=session)
    assert bare(here).messages == bare(there).messages
    assert there.messages[: len(session.messages)] == session.messages
    assert Message("user", "More.") in there.messages
