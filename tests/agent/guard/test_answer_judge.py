"""An answer that contradicts the records is found by the verdict skill, and gives way to them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import agreement_prompt, agreement_text, contradicts_of
from loraloop.agent import Agent, Deny, Limits, Policy, RunResult, events
from loraloop.agent.engine.cache.sequence import QueueFullError
from loraloop.agent.guard import answer_judge
from loraloop.agent.guard.answer_judge import records_in
from loraloop.agent.values.receipts import receipts_of
from loraloop.testing import ScriptedRuntime, calls, text
from loraloop.testing.runtime import SKILLS
from loraloop.tool_schemas.errors import InputError, SchemaError

AGREES, CONTRADICTS = (text(agreement_text(contradicts), "verdict") for contradicts in (False, True))
ORDERED = "The order was placed for you."
DENIED = "Nothing was ordered, because you refused it."
RECEIPT = "Not done, because it was denied: order pads (place: Bonn). Reason: too dear."
ORDER = calls(order_pads={"place": "Bonn"})


def order_pads(place: str) -> str:
    """Order pads."""
    return "ordered"


def agent(*steps: Any, denied: bool = True, **options: Any) -> tuple[ScriptedRuntime, Agent[Any, Any]]:
    runtime = ScriptedRuntime(*steps, skills={**SKILLS, "verdict": "agreement"})
    deny = {"needs_approval": "*", "approve": lambda call, context: Deny("too dear")} if denied else {}
    return runtime, Agent(runtime, [order_pads], policy=Policy(**deny, **options))


def test_the_receipts_stand_in_the_place_of_a_false_sentence() -> None:
    runtime, made = agent(ORDER, calls(), ORDERED, CONTRADICTS)
    result: RunResult[Any] = made.run_sync("Order pads for Bonn.")
    runtime.assert_finished()
    assert result.output == RECEIPT == result.messages[-1].content
    assert result.stop_reason == "answer"
    assert result.messages[-1].origin is not None
    assert result.messages[-1].origin.kind == "runtime"
    assert ORDERED not in str(result.messages)
    wrong = result.steps[-1]
    assert (wrong.outcome, wrong.kept) == ("flawed", False)
    assert [(flaw.kind, flaw.text) for flaw in wrong.flaws] == [("contradiction", ORDERED)]
    assert wrong.error == f"the records contradict {ORDERED!r}"


def test_the_skill_reads_the_records_and_then_the_answer_in_its_branch() -> None:
    runtime, made = agent(ORDER, calls(), DENIED, AGREES)
    made.run_sync("Order pads for Bonn.")
    judged = runtime.turns[-1]
    assert judged.skill == "verdict"
    assert agreement_prompt(DENIED) in judged.extra_prompt
    assert judged.messages[-1].role == "tool"
    assert "denied by the user" in judged.messages[-1].content


def test_an_answer_with_a_value_of_no_record_is_not_judged_any_more() -> None:
    runtime, made = agent(ORDER, calls(), "I ordered 71 pads.")
    result = made.run_sync("Order pads for Bonn.")
    runtime.assert_finished()
    assert result.output == RECEIPT


def test_a_true_sentence_passes() -> None:
    runtime, made = agent(ORDER, calls(), ORDERED, AGREES, denied=False)
    result = made.run_sync("Order pads for Bonn.")
    runtime.assert_finished()
    assert result.output == ORDERED == result.messages[-1].content
    assert not any(step.flaws for step in result.steps)


def test_no_stream_shows_the_false_sentence() -> None:
    _, made = agent(ORDER, calls(), ORDERED, CONTRADICTS)
    told = list(made.stream("Order pads for Bonn."))
    pieces = [each.text for each in told if isinstance(each, events.TokenGenerated)]
    assert ORDERED not in pieces
    assert RECEIPT in pieces
    flawed = [(each.flaws[0].kind, each.again) for each in told if isinstance(each, events.AnswerFlawed)]
    assert flawed == [("contradiction", False)]
    _, made = agent(ORDER, calls(), ORDERED, CONTRADICTS)
    assert "".join(made.stream_text("Order pads for Bonn.")) == RECEIPT


def test_a_later_turn_without_calls_is_held_to_the_records_of_the_earlier_ones() -> None:
    runtime, made = agent(ORDER, calls(), DENIED, AGREES, ORDERED, CONTRADICTS)
    first = made.run_sync("Order pads for Bonn.")
    told = list(made.stream("Did you order them?", messages=first.messages))
    runtime.assert_finished()
    finished = told[-1]
    assert isinstance(finished, events.RunFinished)
    assert finished.result.output == RECEIPT
    assert ORDERED not in [each.text for each in told if isinstance(each, events.TokenGenerated)]


def test_an_answer_that_the_deadline_left_unjudged_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    _, made = agent(ORDER, calls(), ORDERED, CONTRADICTS)
    made.limits = Limits(deadline=3)
    real, began = answer_judge.agreement_schema, time.monotonic()

    def late() -> dict[str, Any]:
        time.sleep(max(began + 3.1 - time.monotonic(), 0))
        return real()

    monkeypatch.setattr(answer_judge, "agreement_schema", late)
    result = made.run_sync("Order pads for Bonn.")
    assert result.stop_reason == "deadline" and [step.outcome for step in result.steps][:1] == ["calls"]
    assert result.output != ORDERED and ORDERED not in str(result.messages)


def test_an_answer_that_a_full_queue_left_unjudged_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, made = agent(ORDER, calls(), ORDERED, CONTRADICTS)
    step = runtime.engine.step

    def full(trunk: Any, request: Any) -> Any:
        if request.choice == "verdict":
            raise QueueFullError("4096 requests wait for the base")
        return step(trunk, request)

    monkeypatch.setattr(runtime.engine, "step", full)
    with pytest.raises(QueueFullError):
        made.run_sync("Order pads for Bonn.")


@pytest.mark.parametrize("why", ["free", "no records", "no skill"])
def test_who_is_not_asked(why: str) -> None:
    if why == "no records":
        runtime, made = agent("Good morning.")
        assert made.run_sync("Hello").output == "Good morning."
    elif why == "free":
        runtime, made = agent(ORDER, calls(), ORDERED, answers="free")
        assert made.run_sync("Order pads for Bonn.").output == ORDERED
    else:
        runtime = ScriptedRuntime(ORDER, calls(), ORDERED)
        assert Agent(runtime, [order_pads]).run_sync("Order pads for Bonn.").output == ORDERED
    runtime.assert_finished()
    assert all(turn.skill != "verdict" for turn in runtime.turns)


def test_the_skill_cannot_be_chosen_for_a_step() -> None:
    runtime, _ = agent()
    assert "verdict" not in runtime.skills
    assert runtime.answer_judge == "verdict"
    with pytest.raises(InputError, match="checks answers"):
        runtime.check("verdict")


def test_records_are_read_back_from_a_transcript() -> None:
    _, made = agent(ORDER, calls(), DENIED, AGREES)
    result = made.run_sync("Order pads for Bonn.")
    assert [each.text for each in receipts_of(records_in(result.messages))] == [RECEIPT]
    strange = [Message("tool", "no JSON"), Message("assistant", "[1]"), Message("tool", '{"error": null}')]
    assert [record.name for record in records_in(strange)] == ["", ""]


@pytest.mark.parametrize("content", ['{"celsius": 18}', "18 degrees", "[18]"])
def test_a_result_that_the_caller_wrote_in_a_form_of_its_own_belongs_to_its_call(content: str) -> None:
    made = Message("assistant", '[{"name":"get_weather","arguments":{"city":"Oslo"}}]')
    (receipt,) = receipts_of(records_in([made, Message("tool", content)]))
    assert receipt.status == "done" and "18" in receipt.text
    assert receipt.text.startswith("Done: get weather (city: Oslo). Result: ")


def test_a_verdict_is_read_back() -> None:
    assert [contradicts_of(agreement_text(each)) for each in (True, False)] == [True, False]
    with pytest.raises(SchemaError, match="agrees or contradicts"):
        contradicts_of('{"verdict":"safe"}')
