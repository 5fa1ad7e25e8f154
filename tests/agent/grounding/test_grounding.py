"""Grounding: argument values have to stand in what a run was given, in any usual format, or be computed from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.origin import Origin
from loraloop.adapters.skill.contracts import Passage
from loraloop.agent.grounding.grounding import Sources, UngroundedValue, sources_of, ungrounded, ungrounded_error
from loraloop.agent.messages import user_message
from loraloop.tool_schemas.tools.calls import Call
from loraloop.tool_schemas.tools.tool import Tool

TEXT = {"type": "string"}
NUMBER = {"type": "number"}


def missing(
    value: Any, user: str = "", schema: dict[str, Any] = TEXT, results: Sequence[str] = (), other: Sequence[str] = (),
    assistant: Sequence[str] = (), description: str = "", tool: str = "act",
) -> tuple[UngroundedValue, ...]:  # fmt: skip
    """What is ungrounded of a call with one argument."""
    parameters = {"type": "object", "properties": {"it": {**schema, "description": description}}, "required": ["it"]}
    made = Tool(tool, "Acts.", parameters, on_unsupported="check")
    sources = Sources((user,), tuple(results), tuple(other), tuple(assistant))
    return ungrounded(Call(tool, {"it": value}), made, sources)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("A-12", "cancel a12 please"),
        ("A-12", "cancel A 12, please"),
        ("52.52,13.40", "at 52,52 north and 13.4 east"),
        ("LP-6225", "the one with the number 6225"),
        ("N-17", "North hall, pump 17: 2.1 bar"),
        ("N-07", "pump #7 in the north"),
        ("nor14", "pump fourteen, Northern hall"),
        ("PUMP-14", "the pump with the number 14"),
        ("SW1A 1AA", "I live at sw1a1aa"),
        ("DE89 3704 0044 0532 0130 00", "to DE89370400440532013000"),
        ("de89 3704 0044 0532 0130 00", "to DE89 3704 0044 0532 0130 00"),
        ("12 Main Street, Springfield", "send it to 12 main street in Springfield"),
        ("221B Baker Street, London NW1 6XE", "to 221b baker street, NW1 6XE"),
        ("PARIS", "a flight to Paris"),
        ("noon", "at 12:00"),
        ("tomorrow", "come morgen"),
        ("next Friday", "on Friday next week"),
        ("Monday", "every monday"),
        ("tomorrow at noon", "at noon, tomorrow"),
        ("two hours", "for 2 hours"),
        ("two hours", "für zwei Stunden"),
        ("twenty thousand", "20,000"),
        (5.5, "five and a half of them"),
        (2.5, "deux et demi"),
        ("+44 7700 900123", "ring (+44) 7700-900-123"),
        ("00123", "number 00123"),
        ("jo@example.org", "write to Jo@Example.org."),
        ("https://www.example.org/a?b=1", "look at example.org"),
        (1000.0, "pay 1 000 euros"),
        (1000, "pay 1,000 euros"),
        (1000, "pay 1.000 euros"),
        (12.5, "it costs 12,50"),
        (10_000, "10k of them"),
        (-5, "minus 5 degrees"),
        (12, "twelve of them"),
        (21, "twenty-one boxes"),
        (7, "a seven-sided one"),
        (250, "zweihundertfünfzig Kisten"),
        (6, "pour six personnes"),
        (3, "the third floor"),
        ("10kg", "ten kg"),
        ("PT30M", "for 30 minutes"),
        (60, "for an hour"),
        (90, "for an hour and a half"),
        (120, "for 2 hours"),
        (3, "for Anna, Bob and Carl"),
        (2, "for my wife and me"),
        ("2026-03-19", "on 19 March 2026"),
        ("2026-03-19", "on March 19th"),
        ("2026-03-19", "on the nineteenth of March"),
        ("2026-03-19", "19.3.2026"),
        ("2026-03-19", "3/19/26"),
        ("2026-03-19", "am 19. März"),
        ("20260319", "2026-03-19"),
        ("19 March 2026", "2026-03-19"),
        ("2026-03-31", "until the end of March"),
        ("2026-03", "in March"),
        ("17:00", "at 5 pm"),
        ("17:00", "at 5"),
        ("5 pm", "17:00"),
        ("17:30", "at half past five"),
        ("12:00", "at noon"),
        ("2026-03-19T17:00:00Z", "19 March at 5 p.m."),
        ("2026-03-19T00:00:00", "19 March"),
        ("Anna de Vries", "book it for anna de vries"),
        ("Anna Devries", "book it for Ana Devris"),
        ("Ibuprofen 400 mg", "ibuprofen 400"),
        ("Reminder", "wake me up"),
    ],
)
def test_values_that_stand_in_another_format(value: Any, message: str) -> None:
    schema = TEXT if isinstance(value, str) else NUMBER
    assert missing(value, message, schema, tool="set_reminder") == ()
    nothing = missing(value, "Do it.", schema, tool="act")
    assert [each.value for each in nothing] == [value], "the shape is one that is checked"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("A-12", "cancel A-123"),
        ("A-12", "cancel BA-12"),
        ("A-12", "12 of them"),
        ("A-12", "12 and all of them"),
        ("A-12", "the B-12 for Anna"),
        ("A-12", "B-12-3 or 1/12 for Anna"),
        ("A-12", "12.5 kg for Anna"),
        ("A-12-3", "12 for Anna"),
        ("AX-12", "12 for Anna"),
        ("12-34-56", "12, 34 or 56"),
        ("LP-6225", "LP-6226"),
        ("E-7", "E-70 or 1.07"),
        ("jo7@example.org", "write to jo07@example.org"),
        ("jo@example.org", "write to Jo"),
        (10_000, "the rest of it"),
        (400, "ibuprofen"),
        ("Ibuprofen 400 mg", "ibuprofen"),
        ("Suite 12 Level 3", "suite 12"),
        ("2026-03-19", "some day"),
        ("2026-03-19", "on 20 March, at 5"),
        ("17:00", "at 6 pm, please"),
        ("05:00", "at 5 pm"),
        ("[your destination]", "a flight, and your destination is up to you"),
        ("your_destination", "a flight"),
        ("Paris", "a flight"),
        ("PARIS", "a flight"),
        ("DE89 3704 0044 0532 0130 00", "Pay it."),
        ("de89 3704 0044 0532 0130 00", "Pay it."),
        ("12 Main Street, Springfield", "Main Street in Springfield"),
        ("10115 Berlin", "to Berlin"),
        ("1 Station Road, Springfield, IL 62704", "send it"),
        ("noon", "at 10:20"),
        ("tomorrow", "today"),
        ("next Friday", "on Friday"),
        ("Friday at noon", "on Friday at 10:20"),
        ("in 3 days", "in two days"),
        ("two hours", "for 3 hours"),
        ("five", "some of them"),
        (5.5, "five of them"),
        ("https://example.org", "the page of the example"),
        ("https://[x", "the page"),
        ("9999-12-31", "some day"),
        ("52.52,13.40", "in Berlin"),
    ],
)
def test_values_from_nowhere(value: Any, message: str) -> None:
    found = missing(value, message, TEXT if isinstance(value, str) else NUMBER)
    assert [(each.argument, each.path, each.value) for each in found] == [("it", "$.it", value)]


@pytest.mark.parametrize(
    "value",
    [True, False, None, 0, 1, "", "  ", "a table at the window", "size large", "Please come at 17:00 with A-12.",
     "report_2.txt", "/home/me/v2", "#ff0000", "asc", "EUR", "XL", "2 of the small ones", "second",
     "Call Anna tomorrow!"],
)  # fmt: skip
def test_free_text_and_plain_words_are_exempt(value: Any) -> None:
    assert missing(value, "Do it.", {}) == ()


def test_what_the_schema_lists_is_given() -> None:
    assert missing("A-12", schema={"enum": ["A-12", "B-7"]}) == ()
    assert missing("A-12", schema={"const": "A-12"}) == ()
    assert missing(50, schema={"type": "integer", "default": 50}) == ()
    assert missing("A-12", schema={"anyOf": [{"type": "null"}, {"type": "string", "default": "A-12"}]}) == ()
    assert missing(51, schema={"type": "integer", "default": 50}) != ()


def test_an_example_in_a_description_is_not_given() -> None:
    assert missing("A-12", "Cancel my order.", description="Which order, such as A-12.") != ()
    assert missing("A-12", schema={"type": "string", "examples": ["A-12"]}) != ()
    repeated = missing(12, "the usual", NUMBER, assistant=["How many (e.g. 12)?"], description="How many, e.g. 12.")
    assert repeated != (), "the assistant's question repeats the example"


def test_what_the_user_agreed_to_is_given_but_for_identifiers() -> None:
    assert missing(12, "Yes.", NUMBER, assistant=["Shall I take 12?"]) == ()
    assert missing("A-12", "Yes.", assistant=["Shall I take A-12?"]) != ()


@pytest.mark.parametrize(
    "user",
    [
        "Put L-20 down with Osman on 8 February 2027, please.",
        "Trag L-20 bitte am 8. Februar 2027 bei Osman ein.",
        "I want to book the oil change for NB 777 on 4 December 2026.",
        "on 11/12/2026",
    ],
)
@pytest.mark.parametrize("value", ["12:00", "09:00"])
def test_the_number_of_a_day_or_of_an_article_makes_no_time(value: str, user: str) -> None:
    assert [each.value for each in missing(value, user)] == [value]


@pytest.mark.parametrize("value", ["tomorrow", "next Friday at noon"])
def test_words_of_the_calendar_stand_where_the_user_agreed_to_them(value: str) -> None:
    assert missing(value, "Yes.", assistant=[f"Shall I come {value}?"]) == ()
    assert missing(value, "Yes.", assistant=["Shall I come?"]) != ()
    assert missing(value, "Do it.", results=[f"next visit: {value}"]) == ()


def test_one_as_text_is_the_number_of_something() -> None:
    assert [each.value for each in missing("1", "Write to them that the work is done.")] == ["1"]
    assert missing("1", "Write to number 1.") == missing("1", "the first one, please") == ()
    assert missing(1, "A coffee, please.", NUMBER) == ()


@pytest.mark.parametrize("user", ["on 8 February at 9", "8 February, nine o'clock", "um neun am 8. Februar"])
def test_an_hour_beside_a_day_stands(user: str) -> None:
    assert missing("09:00", user) == ()


@pytest.mark.parametrize("value", ["2026-03-18", "2026-03-19", "10:00", "2026-03-18T10:00"])
def test_a_date_or_a_time_of_the_instructions_alone_is_nobodys_wish(value: str) -> None:
    instructions = "Today is Wednesday, 18 March 2026. The desk opens at 10:00 in room B-7; 12 chairs."
    made = Tool("book", "Books.", {"type": "object", "properties": {"it": TEXT}}, on_unsupported="check")

    def found(it: Any, *messages: Message) -> tuple[UngroundedValue, ...]:
        return ungrounded(Call("book", {"it": it}), made, sources_of([Message("system", ""), *messages], instructions))

    asked = Message("user", "Book a room.")
    assert [each.value for each in found(value, asked)] == [value]
    assert not found("B-7", asked) and not found("12 chairs", asked)
    note = Message("system", f"Dates: then = {value}", Origin("runtime"))
    assert not found(value, note, asked) and not found(value, Message("user", f"Book it for {value}."))


def test_sources_of_a_transcript() -> None:
    messages = [
        Message("system", "Shop 7. Tools: cancel(id), such as A-12"),
        user_message("Cancel it.", [Passage("p1", "Order B-7 is late.")], trusted=False),
        Message("system", "Dates: tomorrow = 2026-03-19 (Thursday)", Origin("runtime")),
        Message("assistant", '[{"name":"find","arguments":{"id":"C-3"}}]'),
        Message("tool", '{"name":"find","result":[{"id":"D-4","note":"na\\u00efve"},{"id":"D-5"}]}'),
        Message("assistant", "Which one, E-5?"),
        Message("user", "The first."),
        Message("assistant", "F-6?"),
    ]
    made = sources_of(messages, "Shop 7.")
    assert [text.strip() for text in made.user] == ["Cancel it.", "The first."]
    assert made.instructions == ("Shop 7.",) and any("B-7" in text for text in made.other)
    assert any("2026-03-19" in text for text in made.other)
    assert not any("p1" in text for text in made.other), "the id of a passage is nobody's word"
    assert "naïve" in made.results[0] and "2" in made.results[0].split("\n")
    assert made.assistant == ("Which one, E-5?",), "the user has not answered the last one"
    everything = " ".join((*made.user, *made.other, *made.results, *made.instructions))
    assert not any(code in everything for code in ("A-12", "C-3", "E-5", "F-6"))


def test_values_are_computed_by_the_stated_rules() -> None:
    assert missing(9, "three more than", NUMBER, results=["stock\n6"]) == ()
    assert missing(18, "three times as many", NUMBER, results=["stock\n6"]) == ()
    assert missing(110, "raise it by 10 %", NUMBER, results=["price\n100"]) == ()
    assert missing(17, "order it", NUMBER, results=["6\n11"]) != (), "one of the two numbers is the user's"
    assert missing("2026-03-22", "for 3 nights", other=["Today is 2026-03-19."]) == ()
    assert missing("2026-04-02", "in two weeks", other=["Today is 2026-03-19."]) == ()
    assert missing("2026-05-19", "in two months", other=["Today is 2026-03-19."]) == ()
    assert missing("2026-03-21", "on Saturday", other=["Today is 2026-03-19."]) == ()
    assert missing("2026-03-22", "on Saturday", other=["Today is 2026-03-19."]) != ()
    assert missing("2027-01-17", "some day last month", other=["Dates: last month = 2027-01-01 to 2027-01-31"]) == ()
    assert missing("2026-03-30", "on the 30th", other=["Today is 2026-03-19."]) == ()
    assert missing("18:30", "at 5 pm for 90 minutes") == ()
    parameters = {"type": "object", "properties": {"start": TEXT, "end": TEXT, "who": {"type": "array", "items": TEXT}}}
    tool = Tool("book", "Books.", parameters)
    stay = Call("book", {"start": "2026-03-21", "end": "2026-03-24", "who": ["Anna", "Otto"]})
    found = ungrounded(stay, tool, Sources(("Anna stays three nights from Saturday",), (), ("Today is 2026-03-19.",)))
    assert [(each.path, each.kind, each.required) for each in found] == [("$.who[1]", "name", False)]


def test_the_sentence_for_the_model() -> None:
    order = UngroundedValue("order_id", "$.order_id", "A-12", "identifier")
    limit = UngroundedValue("limit", "$.limit", 10, "number", required=False)
    assert ungrounded_error([order]) == 'Nobody gave order_id "A-12": look it up, or ask for it.'
    assert (
        ungrounded_error([order, limit]) == 'Nobody gave order_id "A-12" and limit 10: look them up, or ask for them.'
    )
    assert ungrounded_error([limit]) == "Nobody gave limit 10: leave it out, look it up, or ask for it."


CODES = st.from_regex(r"[A-Z]{1,3}-[0-9]{1,5}", fullmatch=True)
DAYS = st.dates(date(2001, 1, 1), date(2090, 12, 31))
WRITTEN: tuple[Callable[[date], str], ...] = (
    lambda day: day.isoformat(),
    lambda day: f"{day:%d.%m.%Y}",
    lambda day: f"{day:%m/%d/%Y}",
    lambda day: f"{day.day} {day:%B} {day.year}",
    lambda day: f"{day:%B} {day.day}, {day.year}",
    lambda day: f"the {day.day}th of {day:%b}",
)


@settings(deadline=None)
@given(code=CODES, before=st.text("abc ,.", max_size=9), after=st.text("abc ,.", max_size=9))
def test_a_code_that_was_said_stands_however_it_is_written(code: str, before: str, after: str) -> None:
    for written in (code, code.lower(), code.replace("-", ""), code.replace("-", " "), code.replace("-", "-00")):
        assert missing(code, f"{before} {written} {after}") == ()
    assert missing(code, f"{before} {after}") != () != missing(code, f"{before} {code}1 {after}")


SITES = st.sampled_from(["north", "South", "Überlingen", "harbour"])
REPORTS = st.sampled_from(
    ["Pump {n} in the {site} shows {bar} bar.", "{site} hall, pump {n}: {bar} bar", "{bar} bar ({site}, #{n})"]
)


@settings(deadline=None)
@given(
    site=SITES,
    n=st.integers(2, 99),
    other=st.integers(2, 99),
    bar=st.integers(110, 930),
    report=REPORTS,
    long=st.integers(1, 4),
)
def test_an_abbreviation_stands_by_its_word_and_its_number(
    site: str, n: int, other: int, bar: int, report: str, long: int
) -> None:
    message, letters = report.format(site=site, n=n, bar=bar / 100), site[:long].upper()
    assert missing(f"{letters}-{n}", message) == () and missing(f"{letters}{n:02}", message) == ()
    assert (missing(f"{letters}-{other}", message) == ()) == (other in (n, bar / 100)), "another number"
    assert missing(f"{letters}Q-{n}", message) != (), "other letters"
    assert missing(f"{letters}-{n}", "Do it.", results=[message]) != (), "words of a result are not the user's"
    assert missing(letters, message, {"type": "string", "format": "uuid"}) != (), "letters alone abbreviate nothing"


@settings(deadline=None)
@given(day=DAYS, write=st.sampled_from(WRITTEN), read=st.sampled_from(WRITTEN[:5]))
def test_a_day_that_was_said_stands_however_it_is_written(
    day: date, write: Callable[[date], str], read: Callable[[date], str]
) -> None:
    assert missing(read(day), f"Come on {write(day)}, please.") == ()


@settings(deadline=None)
@given(day=DAYS, apart=st.integers(40, 5000), written=st.integers(0, 2))
@example(day=date(2001, 11, 3), apart=128, written=0)  # 3 November and 11 March
@example(day=date(2001, 11, 23), apart=4 * 365 + 1, written=0)  # another year
@example(day=date(2001, 11, 1), apart=60, written=0)  # the end of the year
@example(day=date(2001, 11, 2), apart=59, written=1)
def test_another_day_does_not_stand(day: date, apart: int, written: int) -> None:
    other = day + timedelta(days=apart)
    if other.day != day.day or (other.month == day.month and other.year > day.year + 1):
        assert missing(other.isoformat(), f"Come on {WRITTEN[(0, 3, 4)[written]](day)}.") != ()


@pytest.mark.parametrize(
    ("value", "user", "stands"),
    [
        ("2026-03-31", "all of March 2026", True),
        ("2026-12-31", "until the end of 2026", True),
        ("2026-03-31", "from 5 March 2026 on", False),
        ("2026-12-31", "on 5 March 2026", False),
        ("2026-12-31", "on 05.03.2026", False),
    ],
)
def test_a_month_or_a_year_stands_for_its_ends_unless_it_is_a_days(value: str, user: str, stands: bool) -> None:
    assert (missing(value, user) == ()) == stands


@settings(deadline=None)
@given(number=st.integers(2, 10**9), mark=st.sampled_from(["", " ", ",", ".", "'", "\u202f"]))
def test_a_number_that_was_said_stands_however_it_is_grouped(number: int, mark: str) -> None:
    written = f"{number:,}".replace(",", mark)
    assert missing(number, f"take {written} of them", NUMBER) == ()
    assert missing(float(number), f"take {written} of them", NUMBER) == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
    | st.text("0123456789-/.: TZPAMapm@[]", max_size=25),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(value=JSON, user=st.text() | st.text("0123456789-/.:, apm", max_size=40), more=st.text(max_size=40))
def test_any_value_in_any_text_is_decided_and_more_text_only_helps(value: Any, user: str, more: str) -> None:
    first = missing(value, user, {})
    second = missing(value, user, {}, other=[more])
    assert {each.path for each in second} <= {each.path for each in first}


def test_much_text_takes_little_time() -> None:
    from time import perf_counter

    table = "\n".join(f"{n} items of LP-{n * 7} on 2026-03-{n % 28 + 1:02} for Anna at {n}.50" for n in range(4000))
    begun = perf_counter()
    assert missing("Zebulon Quax", table) != ()
    assert missing(987_654_321, table, NUMBER) != ()
    assert missing("1-" * 90, "no") != ()
    assert perf_counter() - begun < 20
