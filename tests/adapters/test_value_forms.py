"""Days, times and forms of values: what was said in one form and is wanted in another."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloop.adapters.value_forms import days, misshapen, times

WRITTEN = ("%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%m/%d/%Y", "%d.%m.%Y", "%B %d, %Y", "%b %d", "%d %B %Y", "%d of %B")


@given(day=st.dates(datetime.date(1990, 1, 1), datetime.date(2035, 12, 31)), form=st.sampled_from(WRITTEN))
def test_a_day_is_the_same_in_every_form(day: datetime.date, form: str) -> None:
    assert (day.month, day.day) in days(f"Book it for {day.strftime(form)}, please.")


@given(st.times())
def test_a_time_is_the_same_on_both_clocks(time: datetime.time) -> None:
    minutes = time.hour * 60 + time.minute
    spoken = time.strftime("%I:%M %p").lstrip("0").lower()
    assert times(time.strftime("%H:%M")) == times(f"at {spoken}") == {minutes}


@pytest.mark.parametrize(
    "text", ["", "12345678901", "2025-13-40", "room 305", "99:99", "3 am I", "24:10 am", "may I", "1/2"]
)
def test_what_is_no_day_or_time_is_harmless(text: str) -> None:
    assert all(1 <= month <= 12 and 1 <= day <= 31 for month, day in days(text))
    assert all(0 <= minute < 1440 for minute in times(text))


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_can_be_read(value: str, description: str) -> None:
    days(value), times(value), misshapen(value, description)


def test_hours_without_minutes_and_words_for_them() -> None:
    assert times("from noon to 7pm, then 9 p.m.") == {720, 1140, 1260}
    assert days("the 3rd of May or Sept 4") == {(5, 3), (9, 4)}


@pytest.mark.parametrize(
    ("value", "description", "wrong"),
    [
        ("2025-03-09", "Day (YYYY-MM-DD)", False),
        ("March 9, 2025", "Day (YYYY-MM-DD)", True),
        ("03/09/2025", "Day, MM/DD/YYYY", False),
        ("2025-03-09", "Day, MM/DD/YYYY", True),
        ("2025-03-09T10:00:00", "Start (YYYY-MM-DDTHH:MM:SS)", False),
        ("2025-03-09", "Start (YYYY-MM-DDTHH:MM:SS)", True),
        ("2025-03-09 10:00", "Start as YYYY-MM-DD HH:MM", False),
        ("20250309", "Day (YYYYMMDD)", False),
        ("19:30", "Start in HH:MM format", False),
        ("7:30 pm", "Start in HH:MM format", True),
        ("Rome, Italy", "The city, e.g. 'Tulsa, OK'", False),
        ("Rome", "The city, e.g. 'Tulsa, OK'", True),
        ("Rome", "The city and state, e.g. San Francisco, CA", True),
        ("IT", "Two-letter country code, e.g. 'BE'", False),
        ("Italy", "Two-letter country code, e.g. 'BE'", True),
        ("pizza", "A dish, such as pizza, sushi or soup", False),
        ("Rome", "The city", False),
        ("ROME", "Information on 'places'", False),
    ],
)
def test_a_description_says_which_form_it_wants(value: str, description: str, wrong: bool) -> None:
    assert misshapen(value, description) == wrong
