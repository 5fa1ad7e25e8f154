"""How calls stand to what was said: figures, names and values are found where a reader finds them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.base.messages import Message
from loraloop.adapters.grounding import FEATURES, Said, figures, leaves, read_calls

AREA = {
    "name": "triangle_area",
    "description": "Area of a triangle.",
    "parameters": {
        "type": "object",
        "properties": {
            "base": {"type": "number"},
            "height": {"type": "number"},
            "unit": {"type": "string", "enum": ["cm", "inch"]},
            "rounded": {"type": "boolean"},
        },
        "required": ["base", "height"],
    },
}
WEATHER = {
    "name": "get_weather",
    "description": "Weather forecast of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "date": {"type": "string"}},
        "required": ["city"],
    },
}
TOOLS = (AREA, WEATHER)


def said(*turns: str | tuple[str, str], tools: Any = TOOLS) -> Said:
    messages = [Message(*turn) if isinstance(turn, tuple) else Message("user", turn) for turn in turns]
    return Said([Message("system", "Tools: London 99"), *messages], tools)


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a base of 10 and a height of 5.5 cm", [{10}, {5.5}]),
        ("5% of 1,200", [{5, 0.05}, {1200}]),
        ("3.5 percent", [{3.5, 0.035}]),
        ("20k people, 2 million cells, 3 hundred", [{20, 20000}, {2, 2_000_000}, {3, 300}]),
        ("two apples and twelve thousand pears", [{2}, {12, 12_000}]),
        ("-4 degrees", [{-4}]),
        ("on 2024-03-05 at 19:30", [{2024}, {3}, {5}, {19}, {30}]),
        ("the 5th of May", [{5}]),
        ("v1 of H2O", []),
        ("no figures in somebody's text", []),
    ],
)
def test_figures_are_read_with_their_units_and_scales(text: str, values: list[set[float]]) -> None:
    assert [set(figure.values) for figure in figures(text)] == values


def test_what_was_said_and_what_was_not() -> None:
    asked = said("What is the area of a triangle with base 10 and height 5?")
    assert (
        asked.features([call("triangle_area", base=10, height=5)])
        .keys()
        .isdisjoint({"numbers_unsaid", "figures_left", "same_number", "near_other", "arguments_crossed"})
    )
    wrong = asked.features([call("triangle_area", base=10, height=10)])
    assert (wrong["figures_left"], wrong["near_other"]) == (1, 1)
    crossed = asked.features([call("triangle_area", base=5, height=10)])
    assert crossed["near_other"] == 2 and crossed["complete"]
    made_up = asked.features([call("triangle_area", base=10, height=7, unit="inch", rounded=True)])
    assert (made_up["numbers_unsaid"], made_up["choices_unsaid"], made_up["flags"]) == (1, 1, 1)
    assert (made_up["optional"], made_up["optional_unsaid"]) == (2, 1)


def test_a_request_for_two_calls_leaves_something_where_one_is_missing() -> None:
    asked = said("Give me the weather in Paris. Give me the one of Oslo tomorrow too.")
    paris, oslo = call("get_weather", city="Paris"), call("get_weather", city="Oslo", date="tomorrow")
    one, both = asked.features([paris]), asked.features([paris, oslo])
    assert (one["names_left"], one["sentences_left"]) == (1, 1)
    assert "names_left" not in both and "sentences_left" not in both and both["calls"] == 2
    assert asked.features([oslo, paris])["calls_crossed"] == 1
    assert asked.features([paris, paris])["same_call"] == 1
    assert both["relevance"] > 0 > asked.features([call("triangle_area", base=1, height=2)])["relevance"]
    forecast = said("Show me the weather forecast of the city of Rome.")
    assert forecast.features([call("triangle_area", base=1, height=2)])["tools_left"] == 1


def test_numbers_larger_than_any_float_are_numbers() -> None:
    asked = said("The area for a base of 3 and a height of 4?")
    found = asked.features([call("triangle_area", base=10**400, height=-(10**400))])
    assert found["numbers_unsaid"] == 2 and found["figures_left"] == 2


def test_dates_and_months_are_the_same_thing() -> None:
    asked = said("What is the weather in Oslo on March 5, 2024?")
    dated = asked.features([call("get_weather", city="Oslo", date="2024-03-05")])
    assert "names_left" not in dated and "figures_left" not in dated
    assert "texts_unsaid" not in dated and dated["complete"]
    other = asked.features([call("get_weather", city="Oslo", date="2024-04-06")])
    assert (other["names_left"], other["figures_left"], other["texts_unsaid"]) == (1, 1, 1)


def test_a_time_or_a_place_in_another_form_was_said() -> None:
    asked = said("The weather in Oslo at half past, no, at 7:30 pm, please.")
    assert "texts_unsaid" not in asked.features([call("get_weather", city="Oslo, Norway", date="19:30")])
    assert asked.features([call("get_weather", city="Bergen, Norway", date="07:30")])["texts_unsaid"] == 2


def test_decimals_within_a_text_are_figures() -> None:
    asked = said("Houses in Oslo with a rating of at least 4.6.")
    assert "figures_left" not in asked.features([call("get_weather", city="Oslo", date="4.6 and above")])
    assert asked.features([call("get_weather", city="Oslo", date="6 and above")])["figures_left"] == 1


def test_a_value_beside_the_name_of_another_tools_argument_may_be_that_ones() -> None:
    text, number = {"type": "string"}, {"type": "integer"}
    driver = {"name": "tram_driver", "parameters": {"properties": {"tram": number}}}
    shift = {"name": "shift_end", "parameters": {"properties": {"driver": text}}}
    asked = said("Who works on tram 72?", tools=(driver, shift))
    assert asked.features([call("shift_end", driver="72")])["near_stranger"] == 1
    assert "near_stranger" not in asked.features([call("tram_driver", tram=72)])


def test_a_text_that_has_not_the_form_that_is_asked_for_is_misshapen() -> None:
    day = {"type": "string", "description": "Day (YYYY-MM-DD)"}
    asked = said(
        "What is on in Oslo on May 5?", tools=({"name": "events", "parameters": {"properties": {"day": day}}},)
    )
    assert asked.features([call("events", day="May 5")])["misshapen"] == 1
    assert "misshapen" not in asked.features([call("events", day="2026-05-05")])


def test_calls_that_were_made_for_the_request_leave_nothing_of_theirs() -> None:
    made = call("get_weather", city="Paris")
    turns = ("Weather in Paris, and in Oslo?", ("assistant", json.dumps([made])), ("tool", '{"result": 18}'))
    asked = said(*turns)
    assert "names_left" not in asked.features([call("get_weather", city="Oslo")])
    assert asked.features([made])["done_before"] == 1 and asked.features([made])["names_left"] == 1
    nothing = asked.features([])
    assert (nothing["none"], nothing["none_after"], nothing["none_left"]) == (1, True, 1)
    fresh = said(*turns, "And in Rome?")
    assert fresh.features([])["none_after"] is False and fresh.features([])["none_left"] == 1


def test_the_system_message_is_nothing_that_was_said() -> None:
    asked = said("What is the weather there?")
    found = asked.features([call("get_weather", city="London")])
    assert found["texts_unsaid"] == 1
    assert asked.unsaid(call("get_weather", city="London")) == ("city",)
    assert asked.unsaid(call("get_weather", city="weather", date="2020")) == ()
    lacking = call("triangle_area", base=3, height=4, rounded=True)
    assert said("The area for a base of 3?").unsaid(lacking) == ("height",)


def test_what_is_missing_is_asked_for_where_the_request_is_about_the_tool() -> None:
    london, area = call("get_weather", city="London"), call("triangle_area", base=1, height=2)
    asked = said("What is the weather forecast for the city?")
    assert asked.missing([london]) == ("city",) and asked.missing([area, london]) == ("city",)
    assert asked.missing([call("get_weather", city="the city")]) == ("city",)
    assert asked.missing([area]) == () and asked.missing([]) == ()
    assert said("Tell me a joke.").missing([london]) == ()
    assert said("Weather forecast for the city of London").missing([london]) == ()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.text(max_size=80), st.lists(st.dictionaries(st.sampled_from(["base", "city", "x"]), VALUES), max_size=3))
def test_any_request_and_any_calls_have_features(text: str, arguments: list[dict[str, Any]]) -> None:
    calls = [call(("triangle_area", "get_weather", "unknown")[at % 3], **each) for at, each in enumerate(arguments)]
    asked = said(text)
    found = asked.features(calls)
    assert found.keys() <= FEATURES.keys()
    assert all(value == value and abs(value) < float("inf") for value in found.values())
    counts = {name: value for name, value in found.items() if "not a count" not in FEATURES[name]}
    assert all(value >= 0 and value == int(value) for value in counts.values())
    assert found == asked.features(calls)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from(["{} and {}", "base {}, height {}", "{}; {}."]))
def test_numbers_that_a_request_says_are_said(one: int, two: int, form: str) -> None:
    found = said(form.format(one, two)).features([call("triangle_area", base=one, height=two)])
    assert "numbers_unsaid" not in found and "figures_left" not in found


@given(VALUES)
def test_leaves_are_all_that_is_no_list_or_object(value: Any) -> None:
    found = list(leaves(value))
    assert not any(isinstance(each, list | dict) for each in found)
    scalars = json.dumps(value).count('"') if isinstance(value, str) else None
    assert scalars is None or found == [value]


@pytest.mark.parametrize("text", ["", "{", "{}", "[1]", '[{"name": "a"}]', '[{"arguments": {}}]', "[" * 100_000])
def test_what_is_no_list_of_calls_is_none(text: str) -> None:
    assert read_calls(text) is None


def test_a_list_of_calls_is_read() -> None:
    assert read_calls('[{"name": "a", "arguments": {}}]') == [call("a")] and read_calls("[]") == []
