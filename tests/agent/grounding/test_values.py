"""No call runs on a value that nobody gave: the step is written once more, then the user is asked for the value."""

from __future__ import annotations

from typing import Any

import pytest

from loraloop.agent import Agent, Approve, Policy, RunResult, events
from loraloop.testing import ScriptedRuntime, calls
from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.tools.tool import Tool

ORDER = {"order_id": {"type": "string", "description": "Which order, such as A-12."}, "days": {"type": "integer"}}
done: list[dict[str, Any]] = []


def act(**arguments: Any) -> str:
    done.append(arguments)
    return "done"


def tool(**options: Any) -> Tool:
    done.clear()
    parameters = {"type": "object", "properties": ORDER, "required": ["order_id"]}
    return Tool("extend", "Extends an order.", parameters, act, **options)


def approve(*_: Any) -> Approve:
    return Approve()


def test_a_value_from_nowhere_is_written_again_and_then_asked_for() -> None:
    runtime = ScriptedRuntime(calls(extend={"order_id": "A-12"}), calls(extend={"order_id": "A-13"}), "Which order?")
    stream = Agent(runtime, [tool()]).stream("Extend my order.")
    told = [event for event in stream if isinstance(event, events.Ungrounded)]
    result: RunResult[Any] = stream.result
    assert done == [], "nothing ran"
    first, second, asked = result.steps
    assert [step.outcome for step in result.steps] == ["ungrounded", "ungrounded", "text"]
    assert first.error == 'Nobody gave order_id "A-12": look it up, or ask for it.'
    assert not first.kept and not second.kept and second.decided_by == "repair"
    assert 'Nobody gave order_id "A-12"' in runtime.turns[1].extra_prompt
    assert second.asked == ("order_id",) and asked.decided_by == "ask"
    assert "the order id (Which order, such as A-12)" in runtime.turns[2].extra_prompt
    assert result.output == "Which order?" and result.stop_reason == "answer"
    assert [(event.values[0].value, event.ask) for event in told] == [("A-12", ()), ("A-13", ("order_id",))]
    assert [message.role for message in result.messages] == ["system", "user", "assistant"]


def test_the_step_that_is_written_again_may_look_it_up_or_be_right() -> None:
    runtime = ScriptedRuntime(calls(extend={"order_id": "A-12"}), calls(extend={"order_id": "B-7"}), calls(), "Done.")
    result = Agent(runtime, [tool()]).run_sync("Extend my order b7.")
    assert [step.outcome for step in result.steps] == ["ungrounded", "calls", "no_call", "text"]
    assert done == [{"order_id": "B-7"}]


def test_a_refused_value_is_asked_for_where_the_step_repeats_an_earlier_call_instead() -> None:
    looked_up, wrote = calls(extend={"order_id": "B-7"}), calls(extend={"order_id": "A-12"})
    runtime = ScriptedRuntime(looked_up, wrote, looked_up, "Which order?")
    result = Agent(runtime, [tool()]).run_sync("Extend B-7, and then her order.")
    assert [step.outcome for step in result.steps] == ["calls", "ungrounded", "repeated", "text"]
    assert result.steps[2].asked == ("order_id",) and result.steps[3].decided_by == "ask"
    assert done == [{"order_id": "B-7"}]


def test_a_code_stands_without_the_zeros_before_its_numbers() -> None:
    wrote = calls(extend={"order_id": "E-07"})
    runtime = ScriptedRuntime(wrote, calls(), "Done.")
    Agent(runtime, [tool(effects=True)], policy=Policy(approve=approve)).run_sync("Extend order E7.")
    assert done == [{"order_id": "E-07"}]


@pytest.mark.parametrize(
    ("effects", "values", "runs"),
    [
        (None, "check", True), (False, "check", True), (True, "check", False),
        (None, "effects", True), (True, "effects", False), (True, "off", True),
    ],
)  # fmt: skip
def test_numbers_are_checked_where_a_tool_has_effects(effects: bool | None, values: Any, runs: bool) -> None:
    wrote = calls(extend={"order_id": "B-7", "days": 14})
    runtime = ScriptedRuntime(wrote, *([calls(), "Done."] if runs else [wrote, "How many?"]))
    policy = Policy(values=values, approve=approve)
    Agent(runtime, [tool(effects=effects)], policy=policy).run_sync("Extend B-7.")
    assert bool(done) is runs


@pytest.mark.parametrize(("effects", "values"), [(None, "check"), (False, "check"), (True, "check"), (True, "effects")])
@pytest.mark.parametrize(("code", "said"), [("A-12", "it"), ("A-07", "A-70"), ("A-10", "A-1")])
def test_no_effect_on_an_identifier_that_nobody_gave(effects: bool | None, values: Any, code: str, said: str) -> None:
    wrote = calls(extend={"order_id": code})
    runtime = ScriptedRuntime(wrote, wrote, "Which one?")
    Agent(runtime, [tool(effects=effects)], policy=Policy(values=values, approve=approve)).run_sync(f"Extend {said}.")
    assert done == []


@pytest.mark.parametrize(
    "value",
    [
        "DE89 3704 0044 0532 0130 00",
        "12 Main Street, Springfield",
        "PARIS",
        "noon",
        "tomorrow",
        "next Friday",
        "two hours",
    ],
)
def test_no_effect_on_what_has_the_shape_of_a_value(value: str) -> None:
    made = {"type": "object", "properties": {"it": {"type": "string"}}, "required": ["it"]}
    paid: list[Any] = []
    pay = Tool("pay", "Pays.", made, lambda it: paid.append(it), effects=True, requires_approval=False)
    wrote = calls(pay={"it": value})
    assert Agent(ScriptedRuntime(wrote, wrote, "Which one?"), [pay]).run_sync("Pay it.").output == "Which one?"
    Agent(ScriptedRuntime(wrote, calls(), "Paid."), [pay]).run_sync(f"Pay {value}.")
    assert paid == [value]


def test_results_and_passages_give_values() -> None:
    def find() -> list[dict[str, str]]:
        """Finds orders."""
        return [{"id": "C-9"}]

    runtime = ScriptedRuntime(calls(find={}), calls(extend={"order_id": "C-9"}), calls(), "Done.")
    Agent(runtime, [tool(), Tool.from_function(find)]).run_sync("Extend the open one.")
    assert done == [{"order_id": "C-9"}]
    runtime = ScriptedRuntime(calls(extend={"order_id": "D-4"}), calls(), "Done.")
    policy = Policy(skills=("tools",))
    Agent(runtime, [tool()], policy=policy).run_sync("Extend it.", passages=["Order D-4 is late."])
    assert done == [{"order_id": "D-4"}]


def test_the_description_of_a_tool_gives_nothing_through_the_system_message() -> None:
    runtime = ScriptedRuntime(calls(extend={"order_id": "A-12"}), calls(extend={"order_id": "A-12"}), "Which one?")
    agent = Agent(runtime, [tool()], instructions="You work at desk 3. Orders of today: E-5.")
    agent.run_sync("Extend it.")
    assert done == []
    runtime.say(calls(extend={"order_id": "E-5"}), calls(), "Done.")
    agent.run_sync("Extend it.")
    assert done == [{"order_id": "E-5"}]


@pytest.mark.parametrize("dates", [True, False])
def test_todays_date_in_the_instructions_books_nothing(dates: bool) -> None:
    """Without date notes, the model alone says which day *tomorrow* is, and the day of the instructions counts."""
    booked: list[str] = []

    def book(day: str) -> str:
        """Books the room.

        Args:
            day: The day, as YYYY-MM-DD.
        """
        booked.append(day)
        return "booked"

    wrote = calls(book={"day": "2026-03-18"})
    runtime = ScriptedRuntime(wrote, *([wrote, "Which day?"] if dates else [calls(), "Done."]))
    instructions = "Today is Wednesday, 18 March 2026."
    agent = Agent(
        runtime,
        [Tool.from_function(book, effects=True, requires_approval=False)],
        instructions=instructions,
        dates=dates,
    )
    result = agent.run_sync("Book the room.")
    assert booked == ([] if dates else ["2026-03-18"]), result.output


def test_approval_shows_the_values_that_nobody_gave() -> None:
    runtime = ScriptedRuntime(calls(extend={"order_id": "B-7", "days": 14}))
    result = Agent(runtime, [tool(requires_approval=True)]).run_sync("Extend B-7.")
    assert result.pending is not None
    (waiting,) = result.pending.waiting
    assert [str(value) for value in waiting.ungrounded] == ["days 14"]
    again = type(result.pending).from_json(result.pending.to_json())
    assert again.waiting[0].ungrounded == waiting.ungrounded


def test_where_a_call_is_required_nobody_is_asked() -> None:
    wrote = calls(extend={"order_id": "A-12"})
    result = Agent(ScriptedRuntime(wrote, wrote), [tool()]).run_sync("Extend it.", tool_choice="required")
    assert result.stop_reason == "invalid" and done == []
    assert result.steps[-1].outcome == "ungrounded"


def test_without_repairs_the_user_is_asked_at_once() -> None:
    runtime = ScriptedRuntime(calls(extend={"order_id": "A-12"}), "Which one?")
    result = Agent(runtime, [tool()], policy=Policy(repairs=0)).run_sync("Extend it.")
    assert [step.outcome for step in result.steps] == ["ungrounded", "text"] and done == []


def test_the_policy_is_one_of_three() -> None:
    with pytest.raises(InputError, match="use 'check', 'effects' or 'off'"):
        Policy(values="all")  # type: ignore[arg-type]
