"""Values that a tool wants otherwise than people say them: what is told of them, and what the call has."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.training.sources.typed import draw, drawn, fill, parse
from loraloop.adapters.training.sources.typed_forms import PLACES, polynomial, rescaled
from loraloop.adapters.training.sources.typed_shown import show

SEEDS = st.integers(0, 10**6)


def written(kind: str, value: str, description: str = "What is meant") -> dict[str, str]:
    """What tools may want of a value: the description that says so, and what the call has then."""
    (spec,) = parse(f"@ x\nfind it | Finds it.\n a: {kind} | {description}\n> Find {{a}}")
    found = {}
    for seed in range(400):
        shown = show(spec, "snake", random.Random(seed))
        given_value = draw(spec.arguments[0].kind, random.Random(0))
        call = shown.call({"a": type(given_value)(value, value)})
        (name,) = shown.names.values()
        described = shown.tool["parameters"]["properties"][name].get("description", "")
        found[re.sub(r" \(e\.g\. [^')]*\)|^The ", "", described)] = call["arguments"][name]
    return found


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        ("pool(city)", "Lyon", {"Lyon", "Lyon, France"}),
        ("pool(city)", "Dallas, TX", {"Dallas, TX", "Dallas"}),
        ("pool(country)", "Ghana", {"Ghana", "GH"}),
        ("pool(language)", "Dutch", {"Dutch", "nl"}),
        ("pool(state)", "Utah", {"Utah", "UT"}),
        ("pool(time)", "7:15 AM", {"7:15 AM", "07:15"}),
        ("pool(time)", "12 AM", {"12 AM", "00:00"}),
        ("pool(time)", "noon", {"noon", "12:00"}),
        ("pool(time)", "20:00", {"20:00"}),
        ("pool(artist)", "Adele", {"Adele"}),
        ("pool(country)", "Atlantis", {"Atlantis"}),
    ],
)
def test_what_is_wanted_is_told(kind, value, wanted):
    found = written(kind, value)
    assert set(found.values()) == wanted
    assert all(found[text] == value for text in ("What is meant", "") if text in found)


def test_dates_are_written_as_the_description_says():
    found = written("date", "2024-03-07", "Day in YYYY-MM-DD format")
    said = {re.search(r"in (.*) format|$", text)[1]: value for text, value in found.items()}
    assert said["MM/DD/YYYY"] == "03/07/2024" and said["DD.MM.YYYY"] == "07.03.2024"
    assert said["'Month DD, YYYY'"] == "March 07, 2024" and said["YYYY-MM-DD"] == "2024-03-07"
    assert written("date", "soon", "Day in YYYY-MM-DD format").keys() == found.keys()


@given(seed=SEEDS)
@settings(deadline=None, max_examples=60)
def test_a_choice_is_one_of_the_schema_and_a_default_too(seed):
    (spec,) = parse(
        "@ x\nfind it | Finds it.\n a: enum(low/high) = low | Level\n b?: enum(cm/m) = m | Unit | in {b}\n> {a}"
    )
    rng = random.Random(seed)
    shown = show(spec, "snake", rng, ["b"])
    call = shown.call(drawn(spec.arguments, rng))
    for name, value in call["arguments"].items():
        schema = shown.tool["parameters"]["properties"][name]
        told = re.findall(r"[A-Za-z]+", schema.get("description", value))
        assert value in schema.get("enum", told)
        assert schema.get("default", value) in schema.get("enum", [schema.get("default", value)])


def test_all_arguments_of_a_kind_are_wanted_alike():
    (spec,) = parse("@ x\ngo | Goes.\n a: pool(city) | From\n b: pool(city) | To\n> Go from {a} to {b}")
    forms = [show(spec, "snake", random.Random(seed)).forms for seed in range(60)]
    assert {len(form) for form in forms} == {0, 2}
    assert all(form["a"] is form["b"] for form in forms if form)
    assert not any(show(spec, "snake", random.Random(seed), plain=True).forms for seed in range(60))


@given(seed=SEEDS)
@settings(deadline=None, max_examples=100)
def test_a_function_is_the_same_said_and_written(seed):
    code, said = polynomial(random.Random(seed))
    if re.search(r"[a-wyz]", code):
        return
    read = re.sub(r"(\d)x", r"\1*x", said.translate({ord(a): f"^{b}" for a, b in zip("²³⁴", "234", strict=True)}))
    for x in (-2, 0.5, 3):
        assert eval(code, {"x": x}) == eval(read.replace("^", "**"), {"x": x})


@pytest.mark.parametrize(
    ("text", "told", "said"),
    [
        ("Wait 90 minutes.", "Minutes to wait", "Wait an hour and a half."),
        ("Wait 120 minutes.", "Minutes to wait", "Wait 2 hours."),
        ("Wait 30 minutes.", "Minutes to wait", "Wait half an hour."),
        ("Wait 47 minutes.", "Minutes to wait", "Wait 47 minutes."),
        ("Wait 120 minutes.", "How long to wait", "Wait 120 minutes."),
        ("Wait 120 minutes.", "Minutes or hours", "Wait 120 minutes."),
        ("Wait 60 and 120 minutes.", "Minutes to wait", "Wait 60 and 120 minutes."),
        ("Weigh 2500 grams.", "Mass in grams", "Weigh 2.5 kg."),
        ("For 24 months.", "Months to pay", "For 2 years."),
    ],
)
def test_an_amount_is_said_in_a_larger_unit_where_the_tool_names_the_smaller_one(text, told, said):
    made = {rescaled(text, [told], random.Random(seed)) for seed in range(40)}
    assert made == {text, said}


def test_money_and_units_are_said_in_words():
    (money, unit) = parse(
        "@ x\npay | Pays.\n a: pool(currency) | Code\n> {a}\nmeasure | Measures.\n a: enum(cm/km) | Unit\n> {a}"
    )
    for spec, value, words in (
        (money, "EUR", {"EUR", "euros", "euro"}),
        (unit, "cm", {"cm", "centimeters", "centimetres"}),
    ):
        said = [drawn(spec.arguments, random.Random(seed))["a"] for seed in range(900)]
        assert {one.words for one in said if one.value == value} == words
        assert fill("in {a}", {"a": said[0]}) == f"in {said[0].words}"


def test_places_have_their_country_or_state():
    assert all(re.fullmatch(r"[^,]+, ([A-Z]{2,3}|[A-Z][a-z]+( [A-Z][a-z]+)?)", place) for place in PLACES.values())
