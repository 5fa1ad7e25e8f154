"""Runs step by step: decisions that the caller looks at, changes, or stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date
from typing import Literal

import pytest

from loraloop.adapters.base import Message
from loraloop.agent import Agent, Guard, Limits, Policy, Runtime
from loraloop.agent.events import Planned, RunStarted, StepFinished
from loraloop.agent.hooks import Hook
from loraloop.testing import ScriptedRuntime
from loraloop.tool_schemas.errors import InputError, UnknownNameError

MakeRuntime = Callable[..., Runtime]
SHORT = Limits(step_tokens=90, max_steps=4)
ONE = Policy(max_calls=1)


def pick(color: Literal["red", "green"]) -> str:
    """Picks."""
    return color


def drop(all_of_it: Literal["yes"]) -> str:
    """Drops."""
    return "gone"


def test_nothing_changed_is_a_run_like_any_other(make_runtime: MakeRuntime) -> None:
    plain = Agent(make_runtime("tools"), [pick], limits=SHORT, policy=ONE).run_sync("go")
    with Agent(make_runtime("tools"), [pick], limits=SHORT, policy=ONE).iter("go") as steps:
        seen = []
        for pending in steps:
            seen.append((pending.index, pending.skill, pending.routed, pending.probability))
            kinds = [type(event) for event in steps.happened]
            assert kinds[-1] is Planned
            assert (RunStarted in kinds) == (pending.index == 0)
        assert StepFinished in [type(event) for event in steps.happened]
    assert steps.result.messages == plain.messages
    assert seen == [(s.index, s.skill, s.routed, s.probability) for s in plain.steps]


def test_the_caller_may_choose_the_skill(make_runtime: MakeRuntime) -> None:
    steps = Agent(make_runtime("tools"), [pick], limits=SHORT, policy=ONE).iter("go")
    pending = next(iter(steps))
    with pytest.raises(UnknownNameError, match="did you mean 'prose'"):
        pending.use("prse")
    with pytest.raises(InputError, match="answers from passages"):
        pending.use("retrieval")
    pending.use("prose")
    step = steps.finish().steps[0]
    assert (step.skill, step.decided_by, step.routed) == ("prose", "caller", "tools")


def test_tools_can_be_masked_for_one_step(make_runtime: MakeRuntime) -> None:
    agent = Agent(make_runtime("tools", "tools"), [pick, drop], limits=SHORT, policy=Policy(min_calls=1, max_calls=1))
    called, offered = [], []
    with agent.iter("go") as steps:
        for pending in steps:
            offered.append(pending.tools)
            if pending.index == 0:
                with pytest.raises(UnknownNameError, match="did you mean 'drop'"):
                    pending.mask_tools("dorp")
                with pytest.raises(InputError, match="every tool would be masked"):
                    pending.mask_tools("pick", "drop")
                pending.mask_tools("pick")
                assert pending.tools == ("drop",)
    called = [call.name for step in steps.result.steps[:1] for call in step.calls]
    assert called == ["drop"] and offered[0] == offered[1] == ("pick", "drop")


def test_a_step_can_be_told_something_that_no_transcript_holds(make_runtime: MakeRuntime) -> None:
    plain = Agent(make_runtime(), limits=SHORT).run_sync("go")
    steps = Agent(make_runtime(), limits=SHORT).iter("go")
    next(iter(steps)).tell("In one word.")
    told = steps.finish()
    assert told.steps[0].text != plain.steps[0].text and told.messages[0] == plain.messages[0] == Message("user", "go")
    assert not any("one word" in message.content for message in told.messages)


def test_the_last_message_can_be_edited(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime("code")
    edited = 0
    with Agent(runtime, limits=SHORT, policy=Policy(skills=("prose",))).iter("go there") as steps:
        for pending in steps:
            assert pending.skill == "prose"  # what the policy forces is not used up by the edit
            if pending.messages[-1].content == "go there":
                pending.edit("stay here")
                edited += 1
    result = steps.result
    plain = Agent(make_runtime(), limits=SHORT).run_sync("stay here", skill="prose")
    assert edited == 1 and result.messages == plain.messages and len(result.steps) == 1
    assert runtime.router.screened == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("before", "after"), [("go tomorrow", "go on Friday"), ("go on Friday", "stay"), ("stay", "go tomorrow")]
)
def test_an_edited_message_has_its_own_date_note(make_runtime: MakeRuntime, before: str, after: str) -> None:
    def of(runtime: Runtime) -> Agent[None, object]:
        return Agent(runtime, instructions="Be brief.", limits=SHORT, clock=lambda: date(2026, 3, 18))

    runtime = make_runtime("code")
    with of(runtime).iter(before, skill="prose") as steps:
        for pending in steps:
            pending.edit(after)
    assert steps.result.messages == of(make_runtime()).run_sync(after, skill="prose").messages
    assert runtime.router.screened == 2  # type: ignore[attr-defined]


def test_a_loop_may_edit_each_message(make_runtime: MakeRuntime) -> None:
    with Agent(make_runtime("code"), limits=SHORT, policy=Policy(skills=("prose",))).iter("my card is 4111") as steps:
        for number, pending in enumerate(steps):
            assert number < 9
            pending.edit(pending.messages[-1].content.replace("4111", "hidden"))
    assert steps.result.messages[0].content == "my card is hidden"


def test_a_passage_that_was_edited_away_is_cited_no_more() -> None:
    runtime = ScriptedRuntime("It is hidden.", "It is hidden.")
    given = [{"id": "1", "text": "The card is 4111."}, {"id": "2", "text": "The shop is open."}]
    with Agent(runtime, guard=Guard(input=None, tools=None)).iter("Which card?", passages=given) as steps:
        for number, pending in enumerate(steps):
            if not number:
                pending.edit(pending.messages[-1].content.replace("4111", "hidden"))
            elif number == 1:
                assert steps._run is not None
                assert [each.id for each in steps._run.checkpoint().passages] == ["2"]
                pending.edit("Which card?")
            else:
                with pytest.raises(InputError, match="answers from passages"):
                    pending.use("retrieval")
    assert steps.result.output == "It is hidden." and number == 2


def test_what_a_step_cannot_take_is_told(make_runtime: MakeRuntime) -> None:
    with Agent(make_runtime(), [pick], limits=SHORT).iter("go") as steps:
        pending = next(iter(steps))
        for change in (pending.tell, pending.edit):
            with pytest.raises(InputError, match="the text is 5: give a text"):
                change(5)  # type: ignore[arg-type]
        with pytest.raises(UnknownNameError, match="did you mean 'pick'"):
            pending.mask_tools(["pick"])  # type: ignore[arg-type]


def test_stopping_gives_what_there_is(make_runtime: MakeRuntime) -> None:
    with Agent(make_runtime("tools"), [pick], limits=SHORT, policy=Policy(min_calls=1, max_calls=1)).iter(
        "go"
    ) as steps:
        for pending in steps:
            if pending.index == 1:
                pending.stop()
                break
    result = steps.result
    assert result.stop_reason == "stopped" and not result.complete and len(result.steps) == 1
    assert result.messages[-1].role == "tool"
    early = Agent(make_runtime(), limits=SHORT).iter("go").stop()
    assert early.stop_reason == "stopped" and early.steps == () and len(early.messages) == 1


def test_a_run_that_is_left_gives_its_trunk_back(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime()
    with Agent(runtime, limits=SHORT).iter("go") as steps:
        for _ in steps:
            break
    with pytest.raises(InputError, match="has not ended"):
        _ = steps.result
    assert len(runtime.engine.store._kept) == 1


def test_in_a_loop(make_runtime: MakeRuntime) -> None:
    async def main() -> list[str]:
        return [pending.skill async for pending in Agent(make_runtime("prose"), limits=SHORT).iter("go")]

    assert asyncio.run(main()) == ["prose"]


def test_steps_whose_task_is_cancelled_give_their_trunk_back(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime()

    async def main() -> None:
        async def cancel(_: object) -> None:
            task.cancel()

        async def walk() -> list[object]:
            return [pending async for pending in steps]

        steps = Agent(runtime, limits=SHORT, hooks=[Hook(cancel, (Planned,))]).iter("go")
        task = asyncio.create_task(walk())
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(runtime.engine.store._kept) == 1 and list(steps) == []

    asyncio.run(main())


def test_a_stream_and_steps_are_context_managers_in_a_loop_too(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime()
    agent = Agent(runtime, limits=SHORT)
    with agent.stream("go") as stream:
        next(iter(stream))
    with pytest.raises(InputError, match="has not ended"):
        _ = stream.result
    assert list(stream) == []

    async def main() -> None:
        async with agent.stream("go") as stream:
            assert [event.type async for event in stream][-1] == "RunFinished"
        assert stream.result.steps
        async with agent.iter("go") as steps:
            async for pending in steps:
                pending.stop()
                break
        assert steps.result.stop_reason == "stopped"

    asyncio.run(main())
