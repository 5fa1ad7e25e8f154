"""What calendar words mean: labelled phrases, and rules that hold for every text."""

import datetime
import re
from pathlib import Path
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.agent.dates.resolve import ResolvedDate, date_note, resolve_dates

TODAY = datetime.date(2026, 3, 18)  # a Wednesday
EARLIER = (datetime.date(2026, 4, 2), datetime.date(2026, 5, 1))
_DATE = r"\d{4}-\d\d-\d\d"
_sections = Path(__file__).with_name("date_phrases.txt").read_text().partition("\n\n")
DATED = [line for line in _sections[0].splitlines() if not line.startswith("#")]
UNDATED = _sections[2].splitlines()


def _labels(line: str) -> tuple[str, tuple[ResolvedDate, ...]]:
    text, *labels = line.split(" | ")
    dates = []
    for label in labels:
        found = re.fullmatch(rf"(.+?) ({_DATE})(?: ({_DATE}))?", label)
        assert found, label
        start = datetime.date.fromisoformat(found[2])
        dates.append(ResolvedDate(found[1], start, datetime.date.fromisoformat(found[3]) if found[3] else start))
    return text, tuple(dates)


@pytest.mark.parametrize("line", DATED)
def test_dated_phrase(line: str) -> None:
    text, dates = _labels(line)
    assert dates
    assert resolve_dates(text, TODAY, EARLIER) == dates


@pytest.mark.parametrize("text", UNDATED)
def test_undated_phrase(text: str) -> None:
    assert resolve_dates(text, TODAY, EARLIER) == ()


def test_the_phrases_are_many() -> None:
    assert len(DATED) >= 150
    assert len(UNDATED) >= 100


def test_a_note_is_one_line() -> None:
    assert date_note(resolve_dates("tomorrow, or last month", TODAY)) == (
        "Dates: tomorrow = 2026-03-19 (Thursday); last month = 2026-02-01 to 2026-02-28"
    )
    assert date_note(()) == ""


def test_a_repeated_phrase_is_noted_once() -> None:
    assert date_note(resolve_dates("Tomorrow? Yes, tomorrow, tomorrow!", TODAY)) == (
        "Dates: Tomorrow = 2026-03-19 (Thursday); tomorrow = 2026-03-19 (Thursday)"
    )


def test_nothing_to_count_from_gives_nothing() -> None:
    assert resolve_dates("the day after that", TODAY) == ()
    assert [date.start for date in resolve_dates("the day after that", TODAY, EARLIER)] == [datetime.date(2026, 5, 2)]


@pytest.mark.parametrize("words", ["in 999 years", "in 999 months", "999 years ago", "999 weeks from now"])
def test_the_ends_of_the_calendar_are_no_error(words: str) -> None:
    for today in (datetime.date.min, datetime.date(9999, 12, 31)):
        for date in resolve_dates(f"{words}, this weekend, next year, last month, by the 31st", today):
            assert date.start <= date.end


_PIECES = st.lists(
    st.one_of(
        st.sampled_from([line.split(" | ")[0] for line in DATED] + UNDATED),
        st.text(max_size=12),
        st.sampled_from([" and ", " to ", " next week", ", ", "\n", ". ", " of ", " of May", "end of ", " 3", "-"]),
    ),
    max_size=6,
)


@settings(deadline=None)
@given(pieces=_PIECES, today=st.dates(), earlier=st.lists(st.dates(), max_size=2))
def test_any_text(pieces: list[str], today: datetime.date, earlier: list[datetime.date]) -> None:
    """The words stand in the text, in order and apart; a date's end is no earlier than its start; always the same."""
    text = "".join(pieces)
    dates = resolve_dates(text, today, earlier)
    place = 0
    for date in dates:
        assert date.words.strip()
        place = text.index(date.words, place) + len(date.words)
        assert date.start <= date.end
    assert resolve_dates(text, today, earlier) == dates
    assert "\n" not in date_note(dates)
    assert bool(date_note(dates)) == bool(dates)


@settings(deadline=None)
@given(shift=st.integers(0, 4000), line=st.sampled_from(["tomorrow", "in 3 days", "in two weeks", "5 days ago"]))
def test_relative_words_move_with_today(shift: int, line: str) -> None:
    moved = datetime.timedelta(days=shift)
    (one,), (other,) = resolve_dates(line, TODAY), resolve_dates(line, TODAY + moved)
    assert other.start - one.start == moved


@settings(deadline=None)
@given(today=st.dates(datetime.date(1990, 1, 1), datetime.date(2090, 1, 1)))
def test_weekdays_and_weeks(today: datetime.date) -> None:
    friday, this, following, last = (
        resolve_dates(words, today)[0].start for words in ("Friday", "this Friday", "next Friday", "last Friday")
    )
    assert {day.weekday() for day in (friday, this, following, last)} == {4}
    assert last < today <= this <= friday <= following
    assert (friday - today).days <= 7
    assert (following - (today - datetime.timedelta(days=today.weekday()))).days == 11
    week = resolve_dates("next week", today)[0]
    assert week.start <= following <= week.end
    assert (week.end - week.start).days == 6


@pytest.mark.parametrize("phrase", ["on Friday and then 3 May, ", "next month, ", "vom Montag bis Dienstag, "])
def test_the_time_grows_as_the_text_does(phrase: str) -> None:
    def seconds(times: int) -> float:
        start = perf_counter()
        assert resolve_dates(phrase * times, TODAY)
        return perf_counter() - start

    seconds(1)
    assert seconds(6400) < 40 * min(seconds(400) for _ in range(3))


def test_of_a_long_text_the_beginning_is_looked_at() -> None:
    (found,) = resolve_dates(f"tomorrow {'x' * 200_000} yesterday", TODAY)
    assert found.words == "tomorrow"
