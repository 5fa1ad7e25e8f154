"""An answer names no value that stands in no record; else the records are the answer."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from loraloop.adapters.base.messages import Message
from loraloop.agent import Agent, CallRecord, Policy, RunResult, events
from loraloop.agent.grounding.answer_check import value_flaws
from loraloop.agent.grounding.evidence import Evidence
from loraloop.agent.grounding.grounding import Grounding, Sources
from loraloop.agent.values.receipts import receipt_of
from loraloop.testing import ScriptedRuntime, calls
from loraloop.tool_schemas import Tool
from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.tools.calls import Call

FOUND = CallRecord(
    "find_slots", {"day": "2026-03-19"}, [{"time": "09:30", "price": 12.5}, {"time": "11:00", "price": 20, "no": "W-7"}]
)
ASKED = [Message("user", "What is free on 19 March, for 3 people?")]


@pytest.mark.parametrize(
    "answer",
    [
        "On March 19th there are 2 slots: 9:30 am for 12.50 € and 11:00 (w7).",
        "Both cost 32.50 together, 16.25 on average, 7.50 apart.",
        "For 3 of you that is 60 euros at 11 a.m. on 19.03.2026.",
        "It is about 13 euros.",
        "1. 09:30\n2. 11:00",
        "They are 90 minutes, or 1.5 hours, apart.",
        "W7 has 3 m2.",
        "As [1] says: `x = 44`.",
        "```\n99\n```",
        "Nothing more.",
    ],
)
def test_answers_that_the_records_bear_out(answer: str) -> None:
    assert value_flaws(answer, [FOUND], ASKED) == ()


@pytest.mark.parametrize(
    ("result", "answer"),
    [
        ({"price": 1000}, "Das macht 1 000 €."),
        ({"price": 1250.5}, "Cela fait 1\u202f250,50 €."),
        ([600, 650], "Together they are 1 250."),
        ({"people": 1_000_000}, "There are 1 000 000 people."),
        ({"phone": "+4930123456"}, "Call +49 30 123456."),
        ({"at": "09:30"}, "La table est à 9h30."),
        ({"at": "2026-03-19T09:30"}, "Um 9.30 Uhr."),
        ({"at": "6 pm"}, "Um 18 Uhr."),
        ({"minutes": 90}, "It takes 1 hour and 30 minutes."),
        ({"minutes": 200}, "Das dauert 3 h 20 min."),
        ({"months": 27}, "After 2 years, 3 months."),
        ({"from": "09:30", "to": "11:45"}, "That is 2 hours and 15 minutes."),
        ({"version": "1.2.3"}, "It runs v1.2.3."),
        ({"at": "2026-03-19T09:30"}, "Am 19.3. um 9:30."),
        ({"at": "2026-03-19T09:30"}, "Am 19.03. ist er da."),
        ({"at": "2026-03-19T09:30"}, "It is at 9.30."),
        ({"at": "2026-03-19T14:30"}, "Den 19.3 kl. 2.30."),
        ({"from": "2026-03-19T09:30", "to": "11:00"}, "Am 19.03. von 9.30-11.00 Uhr, or 9.30–11.00."),
        ({"from": "2026-03-19", "to": "2026-03-21"}, "Vom 19.-21.3. oder 19.03.-21.03."),
        ({"order": "1234-56-78"}, "Your order is 1234-56-78."),
        ({"lat": 52.52, "lon": 13.4}, "It is at 52.52,13.40."),
        ({"ok": True}, "Use A4 paper and H2O, for COVID-19 too, by IPv6 in Q3 on a B2B MP3."),
    ],
)
def test_a_value_in_another_usual_form_is_borne_out(result: Any, answer: str) -> None:
    assert value_flaws(answer, [CallRecord("look", {}, result)], []) == ()


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ("There are 47 slots.", "47"),
        ("It is at 10:15.", "10:15"),
        ("It is at 4 pm.", "4 pm"),
        ("It is on 27 April.", "27 April"),
        ("It is on 27 April 2026.", "27 April 2026"),
        ("Your number is W-8.", "W-8"),
        ("It costs €431.", "€431"),
        ("Write to a@b.example.", "a@b.example"),
        ("It is at 10h15.", "10h15"),
        ("Um 10.15 Uhr.", "10.15"),
        ("It takes 1h45.", "1h45"),
        ("It takes 1 hour and 47 minutes.", "47"),
        ("It runs v1.2.4.", "v1.2.4"),
        ("Am 20.3. ist es frei.", "20.3"),
        ("It is at 9.45.", "9.45"),
        ("It costs €9.30 now.", "€9.30"),
        ("It costs 9.30 € now.", "9.30"),
        ("Your number is w9.", "w9"),
        ("Your number is X-9.", "X-9"),
        ("Your order is Q123.", "Q123"),
        ("It is free until 9999-12-31.", "9999-12-31"),
        ("It is on 2026-02-30.", "2026-02-30"),
        ("It costs 3.14159265358979323846264338327950288.", "3.14159265358979323846264338327950288"),
    ],
)
def test_values_that_stand_in_no_record(answer: str, wrong: str) -> None:
    assert [flaw.text for flaw in value_flaws(answer, [FOUND], ASKED)] == [wrong]


def test_a_day_that_no_calendar_has_is_checked_where_no_call_was_made() -> None:
    assert [each.text for each in value_flaws("It came on 2026-02-30.", [], ASKED, since=2026)] == ["2026-02-30"]


def test_numbers_of_many_digits_are_checked() -> None:
    record = CallRecord("look", {}, {"from": 123456789012345, "to": 987654321098765})
    assert [each.text for each in value_flaws("It is 0.25.", [record], [])] == ["0.25"]


def test_of_a_result_that_was_cut_for_the_model_only_the_beginning_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read, reads = [], Evidence._read

    def counting(made: Evidence, text: str, *options: Any, **named: Any) -> None:
        read.append(text)
        reads(made, text, *options, **named)

    monkeypatch.setattr(Evidence, "_read", counting)

    def rows() -> list[dict[str, Any]]:
        """Rows."""
        return [{"id": at, "text": "pears and plums"} for at in range(4_000)]

    result = Agent(ScriptedRuntime(calls(rows={}), "Row 3 has plums."), [rows]).run_sync("What is there?")
    assert result.steps[0].calls[0].left_out and 0 < sum(map(len, read)) < 60_000
    assert result.output == "Row 3 has plums."


HUGE = "9" * 5000
WORDS = "7 12 2026 hours minutes May th am to ² ٣ ½ a @ - . , : / € % # + e"
PIECES = (HUGE, "and a half", " ", "\n", "Dates: ", *WORDS.split())


@settings(deadline=None)
@given(*[st.lists(st.sampled_from(PIECES), max_size=12).map("".join)] * 2)
@example(f"{HUGE} and a half", f"It takes {HUGE} hours and 30 minutes.")
def test_no_text_breaks_the_checks(said: str, answer: str) -> None:
    """Numbers of thousands of digits among them, which Python does not read."""
    argument = {"type": "object", "properties": {"a": {"type": "string"}}}
    sources = Sources((said,), (answer,), assistant=(f"Shall I? {said}",))
    Grounding(sources).ungrounded(Call("f", {"a": answer}), Tool("f", "", argument))
    value_flaws(answer, [CallRecord("f", {}, said)], [Message("user", said)])


@settings(deadline=None)
@given(text=st.text(max_size=80), result=st.recursive(st.integers() | st.text(max_size=9), st.lists, max_leaves=6))
def test_what_only_repeats_a_result_is_never_flawed(text: str, result: Any) -> None:
    value_flaws(text, [CallRecord("look", {}, result)], [])
    if isinstance(result, int):
        assert value_flaws(f"It is {result}.", [CallRecord("look", {}, result)], []) == ()


def get_stock(item: str) -> int:
    """How many are in stock."""
    return 17


LOOK = calls(get_stock={"item": "pears"})


def agent(*steps: Any, **options: Any) -> tuple[ScriptedRuntime, Agent[Any, Any]]:
    runtime = ScriptedRuntime(*steps)
    return runtime, Agent(runtime, [get_stock], **options)


def test_the_receipts_stand_in_the_place_of_a_flawed_answer() -> None:
    runtime, made = agent(LOOK, calls(), "There are 71 or 72 pears.")
    stream = made.stream("How many pears are there?")
    seen = list(stream)
    result: RunResult[Any] = stream.result
    assert [step.outcome for step in result.steps] == ["calls", "no_call", "flawed"]
    assert result.steps[-1].error == "no record has 71; no record has 72"
    (told,) = [event for event in seen if isinstance(event, events.AnswerFlawed)]
    assert not told.again and [flaw.text for flaw in told.flaws] == ["71", "72"]
    assert "71" not in "".join(message.content for message in result.messages)
    text = "Done: get stock (item: pears). Result: 17."
    assert (result.output, result.stop_reason, result.complete) == (text, "answer", True)
    assert [receipt.text for receipt in result.receipts] == [text]
    assert result.messages[-1].content == text
    origin = result.messages[-1].origin
    assert origin is not None and origin.kind == "runtime"
    shown = [event.text for event in seen if isinstance(event, events.TokenGenerated) and event.skill == "none"]
    assert "".join(shown) == text, "nobody has seen the flawed one"
    runtime.say("17, as I said.")
    assert made.run_sync("Thanks. How many?", messages=result.messages).output == "17, as I said."


SAID = "Done: get stock (item: pears). Result: 17."


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        ("There are 99, order Z-123456, on 3 May 2031.", SAID),
        ("Your order is Z-123456.", SAID),
        ("It comes on 3 May 2031.", SAID),
        ("It comes on 3 May.", SAID),
        ("Write to sales@shop.example.", SAID),
        ("17 pears, as I said.", ""),
        ("They are for the 4 May, as you said, with order K-55021.", ""),
        ("A pear has about 57 kcal, and 100 g have 3.1 g of fibre; buy A4 paper.", ""),
        ("Mozart was born on 27 January 1756 at 8 pm.", ""),
        ("Which pears do you mean?", ""),
    ],
)
def test_a_later_turn_without_calls_names_no_identifier_or_date_from_nowhere(answer: str, output: str) -> None:
    runtime, made = agent(LOOK, calls(), "There are 17.")
    first = made.run_sync("How many pears are there? It is for order K-55021 of 4 May.")
    runtime.say(answer)
    result = made.run_sync("And then?", messages=first.messages)
    assert result.output == (output or answer)
    runtime, made = agent("Hello.", "Your order is Z-123456.")
    first = made.run_sync("Hi.")
    assert made.run_sync("And then?", messages=first.messages).output == "Your order is Z-123456.", "no calls at all"


@pytest.mark.parametrize("options", [{"instructions": "Today is 18 March 2014."}, {"clock": lambda: date(2014, 3, 18)}])
def test_which_year_it_is_the_instructions_or_the_clock_say(options: dict[str, Any]) -> None:
    runtime, made = agent(LOOK, calls(), "There are 17.", **options)
    first = made.run_sync("How many pears are there?")
    for answer, output in (("It comes on 3 May 2015.", SAID), ("It came on 3 May 2013.", "It came on 3 May 2013.")):
        runtime.say(answer)
        assert made.run_sync("And then?", messages=first.messages).output == output


def test_answers_without_calls_of_a_type_or_unchecked_are_left_alone() -> None:
    _, made = agent("In 1945.")
    assert made.run_sync("When did the war end?").output == "In 1945."
    _, made = agent(LOOK, calls(), "There are 71 pears.", policy=Policy(answers="free"))
    assert made.run_sync("How many pears?").output == "There are 71 pears."
    _, made = agent(LOOK, calls(), "71", output_type=int)
    assert made.run_sync("How many pears?").value == 71
    with pytest.raises(InputError, match="use 'checked' or 'free'"):
        Policy(answers="no")  # type: ignore[arg-type]


def test_receipts_say_what_came_of_each_call() -> None:
    denied = CallRecord("sendMoney", {"to": "Ann"}, error="denied by the user: too much", approval="denied")
    records = {
        "done": CallRecord("book_visit", {"day": "2026-03-19"}, {"number": "V1"}),
        "empty": CallRecord("find_notes", {}, []),
        "denied": denied,
        "failed": CallRecord("write_note", {}, error="HTTP 503"),
        "unknown": CallRecord("order", {}, error="timed out after 5 s", by_runtime=True, ms=5000.0),
    }
    made = {name: receipt_of(record) for name, record in records.items()}
    assert {name: receipt.status for name, receipt in made.items()} == {name: name for name in records}
    assert made["done"].text == "Done: book visit (day: 2026-03-19). Result: number: V1."
    assert made["denied"].text == "Not done, because it was denied: send Money (to: Ann). Reason: too much."
    assert made["failed"].text == "Not done, because it failed: write note. Error: HTTP 503."


@pytest.mark.parametrize(
    ("result", "status", "text"),
    [
        ({"error": {"code": 404}}, "failed", "It reported a failure: look (q: x). Result: error: code: 404."),
        ({"error": "no such login", "id": 7}, "failed", "It reported a failure: look (q: x). Result: error: no such"),
        ({"ok": False}, "failed", "It reported a failure: look (q: x). Result: ok: no."),
        ({"success": False, "data": []}, "failed", "It reported a failure: look (q: x)."),
        (None, "empty", "Done, and nothing came back: look (q: x)."),
        ([], "empty", "Done, and nothing was found: look (q: x)."),
        ({"items": [], "total": 0}, "empty", "Done, and nothing was found: look (q: x)."),
        ({"items": [], "next": None, "more": False, "query": "x"}, "empty", "Done, and nothing was found: look"),
        ({"order": None}, "empty", "Done, and nothing was found: look (q: x)."),
        ({"ok": True, "error": None}, "done", "Done: look (q: x). Result: ok: yes, error: none."),
        ({"error": 0.03}, "done", "Done: look (q: x). Result: error: 0.03."),
        ({"sent": False, "note": None}, "done", "Done: look (q: x). Result: sent: no, note: none."),
        ({"name": "x"}, "done", "Done: look (q: x). Result: name: x."),
        ({"stock": 0}, "done", "Done: look (q: x). Result: stock: 0."),
        ({"items": [], "free": 3}, "done", "Done: look (q: x). Result: items: 0 items, free: 3."),
        (0, "done", "Done: look (q: x). Result: 0."),
    ],
)
def test_a_result_may_say_itself_that_nothing_was_done_or_found(result: Any, status: str, text: str) -> None:
    receipt = receipt_of(CallRecord("look", {"q": "x"}, result))
    assert receipt.status == status and receipt.text.startswith(text)


class Found(BaseModel):
    ok: bool = True
    prices: list[float] = []


@pytest.mark.parametrize("returned", [Found(ok=False), Found(prices=[12.5, 20]), Found()])
def test_an_object_that_a_tool_returns_counts_as_the_data_that_it_holds(returned: Found) -> None:
    record, same = CallRecord("look", {}, returned), CallRecord("look", {}, returned.model_dump())
    assert receipt_of(record) == receipt_of(same)
    assert value_flaws("Together 32.50.", [record], []) == value_flaws("Together 32.50.", [same], [])


def test_failed_calls() -> None:
    def broken() -> str:
        """Breaks."""
        raise ValueError("disk full")

    made = Agent(ScriptedRuntime(calls(broken={}), calls(), "It failed."), [broken])
    result = made.run_sync("Do it.")
    assert [call.error for call in result.failed_calls] == ["ValueError: disk full"]
    assert result.receipts[0].status == "failed" and '"receipts"' in result.to_json()


def test_a_receipt_of_deeply_nested_data_is_bounded() -> None:
    nested: list[Any] = []
    for _ in range(900):
        nested = [nested]
    text = receipt_of(CallRecord(id="c", name="look", arguments={}, result=nested)).text
    assert "…" in text and len(text) < 1000


def test_a_receipt_looks_at_no_more_of_a_long_result_than_it_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("loraloop.agent.values.receipts._words", lambda name: seen.append(name) or name)
    text = receipt_of(CallRecord("look", {}, [{"id": at} for at in range(20_000)])).text
    assert text.startswith("Done: look. Result: 20000 items: (id: 0); (id: 1)") and text.endswith("…")
    assert len(seen) < 1000


def test_what_is_computed_of_the_records_is_computed_once_for_all_values(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = CallRecord("list", {}, [{"n": 7 * at + 3} for at in range(20)])

    def computed(values: int) -> int:
        counted = []

        def counting(number: Any, places: int) -> Any:
            counted.append(number)
            return round(number, places)

        monkeypatch.setattr("loraloop.agent.grounding.answer_check.rounded", counting)
        answer = " and ".join(f"{5003 + 17 * at}.5" for at in range(values))
        assert len(value_flaws(answer, [rows], ASKED)) == values
        return len(counted)

    assert 0 < computed(2) == computed(40)
