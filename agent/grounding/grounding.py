"""Grounding: which argument values of a call stand nowhere in what the run has been given.

What is checked is decided by a value's format in the schema, else by its shape:

- An *identifier* is one token of letters and digits (`A-12`), groups of capitals and digits (`12 AB 34`), five digits
  or more, or a telephone number. Its letters and digits have to stand somewhere, whatever is between them; or its
  digits alone, where they say enough; or it is an abbreviation of the user's words (`Grounding.identifier`).
- An *e-mail address* has to stand somewhere with its letters and digits, a *URL* with its host.
- A *number* is any but 0 and 1, also with a unit (`10kg`), as a duration (`PT30M`) or in English words (*two hours*);
  as text (`"1"`), these two as well. It stands somewhere in any format or as a word, or is computed
  (`Grounding.number`).
- A *date* or a *time* stands somewhere in any format, or is computed (`Grounding.day`, `Grounding.time`). One in words
  (*next Friday*) stands where they do, or where the user has other ones for the same day.
- A *name* is up to five words, all of them capitalised, perhaps with numbers (`Ibuprofen 400 mg`), or several of these
  with commas, as in an address. Each of its numbers has to stand somewhere, or, where it has none, one of its words.
  A placeholder (`[your city]`, `your_city`) stands nowhere.

Everything else is free text, and free text is exempt: titles, messages, queries. So are true, false, null, file names,
paths, codes of up to three letters (`LHR`), and what the schema lists (`enum`, `const`) or has as `default`.
"""

from __future__ import annotations

import json
import re
from calendar import day_name
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from loraloop.adapters.base.messages import Message
from loraloop.agent.grounding.evidence import Day, Evidence, folded, readings, rounded
from loraloop.agent.grounding.value_kinds import (
    IDENTIFIERS,
    NUMERALS,
    PLACEHOLDER,
    days_meant,
    in_digits,
    kind_of,
    moments_of,
)
from loraloop.agent.values.calls import Kind, UngroundedValue
from loraloop.tool_schemas.schema.normal import normalised
from loraloop.tool_schemas.schema.places import every, followed, json_path
from loraloop.tool_schemas.tools.calls import Call
from loraloop.tool_schemas.tools.tool import Tool

FACTORS = (7, 12, 24, 60, 100, 1000, 3600, 86400, 1_000_000)
"""What a number is multiplied with or divided by where its unit changes: days, months, hours, minutes, cents."""
_UNITS = {
    7: ("week", "woche", "semaine", "semana", "settiman", "weken"),
    12: ("year", "dozen", "jahr", "dutzend", "annee", "douzaine", "ano", "docena", "anno", "dozzina", "jaar"),
    24: ("day", "tag", "jour", "dia", "giorn", "dag"),
    60: ("hour", "minute", "stunde", "heure", "hora", "ora", "uur", "uren", "minut"),
}
"""Words of units that are said without a number, *an hour and a half*, by their factor."""
MOST_PAIRS = 40_000
"""Pairs of numbers that are tried for a sum, a difference or a product."""
_JOINED = re.compile(r"(,|;|\s(?:and|und|et|y|e|en|og|och)\s|&|\+)")
_LEADING_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")


@dataclass(frozen=True, slots=True)
class Sources:
    """Texts in which a value may stand.

    Attributes:
        user: The user's own words. What is computed starts from a number in them.
        results: Results of tools.
        other: Passages, and notes of the runtime.
        instructions: What the system message says. A date or a time that stands in it alone is nobody's wish.
        assistant: What the assistant wrote and the user then answered. It counts for values that a user can agree to:
            not for identifiers, and not for what descriptions of the tool have as an example.
    """

    user: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    assistant: tuple[str, ...] = ()
    instructions: tuple[str, ...] = ()


def ungrounded(call: Call, tool: Tool, sources: Sources) -> tuple[UngroundedValue, ...]:
    """The argument values of a call that stand nowhere, in the order of the arguments.

    Args:
        call: A call whose arguments fit the tool's schema.
        tool: The tool that is called.
        sources: Where values may come from.
    """
    return Grounding(sources).ungrounded(call, tool)


def ungrounded_error(values: Sequence[UngroundedValue]) -> str:
    """One sentence for the model about values from nowhere."""
    named = list(dict.fromkeys(map(str, values)))
    it, them = ("it", "it") if len(named) == 1 else ("them", "them")
    leave = "" if any(value.required for value in values) else f"leave {it} out, "
    return f"Nobody gave {' and '.join(named)}: {leave}look {it} up, or ask for {them}."


def sources_of(messages: Sequence[Message], instructions: str = "", removed: Sequence[Message] = ()) -> Sources:
    """The sources of a transcript.

    Args:
        messages: The transcript. A system message that begins it is left out, since the descriptions of tools stand in
            it.
        instructions: What that message says besides.
        removed: Messages as they were before compaction.
    """
    user, results, other, assistant = [], [], [], []
    waiting: list[str] = []  # what the assistant wrote since the user's last message
    for at, message in enumerate((*messages[:1], *removed, *messages[1:])):
        if message.role == "tool":
            results.append(leaf_lines(message.content))
        elif message.role == "system" and at:  # a later one, such as a note about dates
            other.append(message.content)
        elif message.role == "user":
            words, passages = _parts(message)
            user.append(words)
            other.append(passages)
            assistant += waiting
            waiting = []
        elif message.role == "assistant" and not message.content.lstrip().startswith(("[{", "[]", "{")):
            waiting.append(message.content)
    own = (instructions,) if instructions else ()
    return Sources(tuple(filter(None, user)), tuple(results), tuple(filter(None, other)), tuple(assistant), own)


def _parts(message: Message) -> tuple[str, str]:
    """A user's own words, and the passages beside them; no value comes from the id that a passage is shown with."""
    spans = message.origin.passages if message.origin is not None else ()
    end = spans[-1].end if spans else 0
    passages = (message.content[span.start : span.end].removeprefix(f"[{span.id}]") for span in spans)
    return message.content[end:], "\n".join(passages)


def leaf_lines(content: str) -> str:
    """The keys and values of JSON, one a line; another text as it is."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return content
    lines, waiting = [], [data]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            waiting += [*each.values(), *each]
        elif isinstance(each, list):
            lines.append(str(len(each)))  # how many there are
            waiting += each
        elif each is not None and not isinstance(each, bool):
            lines.append(str(each))
    return "\n".join(lines)


class Grounding:
    """Looks up values in sources. What it has read of them is kept from call to call."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    @cached_property
    def user_words(self) -> Evidence:
        """The values and words of the user's messages."""
        return Evidence.of(self._sources.user, bare=True)

    @cached_property
    def results(self) -> Evidence:
        """The values and words of tools' results."""
        return Evidence.of(self._sources.results)

    @cached_property
    def all(self) -> Evidence:
        """The values and words of all texts but the assistant's."""
        return self.moments | Evidence.of(self._sources.instructions)

    @cached_property
    def moments(self) -> Evidence:
        """The values and words in which a date or a time has to stand: all but the assistant's and the instructions."""
        return self.user_words | self.results | Evidence.of(self._sources.other)

    @cached_property
    def _without_zeros(self) -> Evidence:
        """Those of all texts, which have lost the zeros before their numbers."""
        return Evidence.of(_LEADING_ZEROS.sub("", text) for text in self.all.texts)

    @cached_property
    def agreed(self) -> Evidence:
        """The values and words that the assistant offered and the user then confirmed."""
        return Evidence.of(self._sources.assistant)

    def ungrounded(self, call: Call, tool: Tool) -> tuple[UngroundedValue, ...]:
        """See the function of this name."""
        found: list[UngroundedValue] = []
        dates: set[date] = set()  # of this call, which stand somewhere
        for leaf in leaves_of(call.arguments, normalised(tool.parameters)):
            kind = kind_of(leaf.value, leaf.formats)
            if kind is None:
                continue
            if not self._stands(kind, leaf.value, call, tool, dates):
                found.append(UngroundedValue(leaf.argument, json_path(leaf.path), leaf.value, kind, leaf.required))
            elif kind == "date":
                dates.update(day.as_date for moment in moments_of(leaf.value) for day in moment.days if day.year)
        return tuple(found)

    def _stands(self, kind: Kind, value: Any, call: Call, tool: Tool, dates: set[date]) -> bool:
        if isinstance(value, str) and PLACEHOLDER.fullmatch(value.strip()):
            return any(value in text for text in self.all.texts)
        if isinstance(value, str) and (self.moments if kind in ("date", "time") else self.all).has_code(value):
            return True
        if kind in IDENTIFIERS:
            return kind == "identifier" and self.identifier(value)
        if value in ("0", "1"):  # as text it is no count, but the number of something
            found = self.all.has_number(Decimal(value))
        elif kind == "number":
            found = all(self.number(each, call.arguments) for each in _numbers_of(value))
        elif kind in ("date", "time"):
            found = self.moment(value, dates)
        else:
            found = _stands_as_such(kind, value, self.all, tool)
        if found or not self._sources.assistant:
            return found
        examples = Evidence.of(descriptions_of(tool))
        return _stands_as_such(kind, value, self.agreed, tool) and not _stands_as_such(kind, value, examples, tool)

    def identifier(self, value: str) -> bool:
        """Whether an identifier is made of parts that stand somewhere.

        Its digits do, where they say enough (`Evidence.has_digits`); or all of it does but for the zeros before its
        numbers: *E1* is `E01`, and *E07* is `E7`; or the user says each of its numbers, and a word that begins with
        each run of its letters: *pump 14 in the north* is `N-14`.
        """
        if self.all.has_digits(value) or self._without_zeros.has_code(_LEADING_ZEROS.sub("", value)):
            return True
        runs = re.findall(r"\d+", value)
        letters, own = re.findall(r"[^\W\d_]+", folded(value)), self.user_words
        stated = own.plain.issuperset(map(Decimal, runs)) and all(map(own.has_beginning, letters))
        return bool(runs and letters) and stated

    def number(self, value: Decimal, arguments: Mapping[str, Any] = MappingProxyType({})) -> bool:
        """Whether a number stands somewhere, or is computed in one of these ways.

        The sum, difference or product of two numbers, one of them the user's and the other one the user's or of a
        result, rounded as the number is; more or less of it by so many per cent; the user's number in another unit
        (`FACTORS`), a half or one and a half of a unit; the length of a list in the same call; how many things the user
        has listed.

        Args:
            value: The number.
            arguments: Arguments of the call.
        """
        if value in (0, 1) or self.all.has_number(value):
            return True
        if value in _lengths(arguments) or value in self._listed:
            return True
        own = {each for each in self.user_words.plain if each < 10**15}
        known = own | {each for each in self.results.plain if each < 10**15}
        wanted = value.copy_abs()
        if any(wanted in (factor, Decimal(factor) / 2, Decimal(factor) * 3 / 2) for factor in self._units):
            return True
        if len(own) * len(known) > MOST_PAIRS or wanted >= 10**25:
            return False
        if any(wanted in (each * factor, each / factor) for each in own for factor in FACTORS):
            return True
        return any(
            wanted in (one + two, abs(one - two), _rounded(one * two, value))
            or wanted in (_rounded(abs(two * (100 + sign * one) / 100), value) for sign in (1, -1))
            for one in own
            for two in known
        )

    @cached_property
    def _units(self) -> list[int]:
        """Factors of the units that the user names."""
        words = self.user_words.words
        return [factor for factor, names in _UNITS.items() if any(word.startswith(names) for word in words)]

    @cached_property
    def _listed(self) -> set[int]:
        """How many things the user has listed, by the commas and the *and* between them."""
        found: set[int] = set()
        for text in self._sources.user:
            for clause in re.split(r"[.!?;:\n]", text):
                marks = [mark.strip() for mark in _JOINED.findall(clause.casefold())]
                words = sum(mark != "," for mark in marks)
                found.update((words + 1, len(marks) + 1) if words else ())
        return found

    def moment(self, value: str, dates: Collection[date] = ()) -> bool:
        """Whether each date and each time of a value stands somewhere or is computed.

        Args:
            value: A date, a time, both, or a span of these.
            dates: Dates of the same call that stand somewhere.
        """
        moments = moments_of(value)
        if not moments:  # the schema's format says more than the shape of the value
            return all(self.number(each) for each in _numbers_of(value))
        return all(
            (not moment.words or self._means(moment.words))
            and (not moment.days or any(self.day(each, dates) for each in moment.days))
            and (not moment.times or any(self.time(each) for each in moment.times))
            for moment in moments
        )

    def _means(self, words: str) -> bool:
        """Whether words for a day stand somewhere, or the user has other ones for the same day."""
        user_days = {days for text in self._sources.user for days in days_meant(text).values()}
        return _words_stand(words, self.moments) or user_days.issuperset(days_meant(words).values())

    def day(self, value: Day, dates: Collection[date] = ()) -> bool:
        """Whether a date stands somewhere, or is computed in one of these ways.

        So many days, weeks, months or years before or after a date that stands somewhere, as a number of the user's
        says, or one; a weekday that the user names in English, within a fortnight of such a date.

        Args:
            value: The date.
            dates: Dates of the same call that stand somewhere.
        """
        if value.year is None:
            return any((value.month, value.day) == (each.month, each.day) for each in self.moments.days)
        when = value.as_date
        if self.moments.has_day(when):
            return True
        steps = {1, *(int(each) for each in self.user_words.amounts if each == int(each) and each < 1000)}
        weekday = day_name[when.weekday()].casefold() in self.user_words.words
        for base in self.moments.dates | set(dates):
            apart, months = abs((when - base).days), abs((when.year - base.year) * 12 + when.month - base.month)
            if apart in steps or (apart % 7 == 0 and apart // 7 in steps) or (weekday and apart <= 14):
                return True
            if when.day == base.day and (months in steps or (months % 12 == 0 and months // 12 in steps)):
                return True
        return False

    def time(self, value: tuple[int, int]) -> bool:
        """Whether a time of day stands somewhere, or is computed in one of these ways.

        So many hours or minutes before or after such a time, as a number of the user's says, or one hour after it; a
        quarter, half or three quarters of an hour beside an hour that the user names. A number of a date is no hour.
        """
        own = self.user_words
        if value in self.moments.times | own.spoken:
            return True
        hour, minute = value
        hours = {each for each, beyond in own.times | own.spoken if not beyond}
        if minute in (15, 30, 45) and {hour, (hour + 1) % 24} & hours:
            return True
        steps = {int(each) * unit for each in own.amounts if each == int(each) < 600 for unit in (1, 60)}
        apart = {(hour * 60 + minute) - (one * 60 + two) for one, two in self.moments.times}
        return 60 in apart or any(abs(each) in steps for each in apart)


def _stands_as_such(kind: Kind, value: Any, place: Evidence, tool: Tool) -> bool:
    """Whether a value stands in texts, nothing computed."""
    if kind == "number":
        return all(place.has_number(each) for each in _numbers_of(value))
    if kind == "url":
        try:
            host = urlsplit(value if "//" in value else f"//{value}").hostname
        except ValueError:  # `http://[a`
            host = None
        return place.has_code((host or value).removeprefix("www."))
    if kind == "name":
        return _name_stands(value, place, tool)
    return all(
        _words_stand(moment.words, place)
        and (not moment.days or any(place.has_day(each.as_date) for each in moment.days if each.year))
        and (not moment.times or any(each in place.times for each in moment.times))
        for moment in moments_of(value)
    )


def _words_stand(words: str, place: Evidence) -> bool:
    return all(map(place.has_word, re.findall(r"[^\W\d_]{3,}|\d+", words)))


def _name_stands(value: str, place: Evidence, tool: Tool) -> bool:
    """Whether one word of a name stands somewhere; of a name with numbers, whether each number does.

    The words in the tool's own name count: `set_reminder` makes a *Reminder* of what nobody has called so.
    """
    numerals = NUMERALS.findall(value)
    if numerals:
        return all(any(place.has_number(each) for each in readings(numeral)) for numeral in numerals)
    words = re.findall(r"[^\W\d_]{2,}", value)
    own = set(re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", tool.name).casefold()))
    long = [word for word in words if len(word) > 3] or words
    return not words or any(word.casefold() in own or place.has_word(word) for word in long)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value in the arguments that is no object and no list.

    Attributes:
        argument: The name of the property that holds it.
        path: The keys and indices that lead to it.
        value: It.
        formats: The formats that its schemas name.
        required: Whether its property is required.
    """

    argument: str
    path: tuple[str | int, ...]
    value: Any
    formats: frozenset[str] = frozenset()
    required: bool = True


def leaves_of(arguments: Mapping[str, Any], schema: dict[str, Any]) -> Iterator[Leaf]:
    """The values in a call's arguments that its schema does not list and does not have as a default."""
    waiting: list[tuple[str, tuple[str | int, ...], Any, list[dict[str, Any]], bool]] = [
        ("", (), arguments, list(_alternatives(schema, schema)), True)
    ]
    while waiting:
        name, path, value, schemas, required = waiting.pop()
        if any(_lists(each, value) for each in schemas):
            continue
        if isinstance(value, Mapping):
            inner = []
            for key, item in value.items():
                own = [found for each in schemas for found in _alternatives(schema, _property(each, key))]
                needed = any(key in each.get("required", ()) for each in schemas)
                inner.append((key, (*path, key), item, own, needed))
            waiting += reversed(inner)
        elif isinstance(value, list):
            own = [found for each in schemas for found in _alternatives(schema, each.get("items"))]
            waiting += reversed([(name, (*path, at), item, own, required) for at, item in enumerate(value)])
        else:
            formats = frozenset(each["format"] for each in schemas if isinstance(each.get("format"), str))
            yield Leaf(name, path, value, formats, required)


def _alternatives(root: dict[str, Any], schema: Any) -> Iterator[dict[str, Any]]:
    """A schema and what it is made of by reference and combination."""
    waiting, seen = [schema], set()
    while waiting:
        each = followed(root, waiting.pop())
        if not isinstance(each, dict) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        for key in ("anyOf", "oneOf", "allOf"):
            waiting += each.get(key, ())


def _property(schema: dict[str, Any], key: str) -> Any:
    found = schema.get("properties", {}).get(key)
    return schema.get("additionalProperties") if found is None else found


def _lists(schema: dict[str, Any], value: Any) -> bool:
    """Whether a schema names a value itself."""
    named = [schema[key] for key in ("const", "default") if key in schema] + list(schema.get("enum", ()))
    return any(each == value and isinstance(each, bool) == isinstance(value, bool) for each in named)


def descriptions_of(tool: Tool) -> list[str]:
    """The descriptions of a tool and of its arguments, where examples stand."""
    texts = [tool.description]
    for _, each in every(tool.parameters):
        texts += [str(each[key]) for key in ("description", "examples", "title") if key in each]
    return texts


def _numbers_of(value: Any) -> list[Decimal]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [Decimal(str(value))]
    # Of several readings of a numeral any may stand; the plainest one is the one that is checked first.
    found = NUMERALS.findall(in_digits(str(value)))
    return [max(readings(numeral), key=lambda each: (each == int(each), each)) for numeral in found]


def _rounded(value: Decimal, like: Decimal) -> Decimal:
    """A number rounded to as many places as another one has."""
    exponent = like.as_tuple().exponent
    return rounded(value, -exponent if isinstance(exponent, int) and -6 <= exponent < 0 else 0)


def _lengths(value: Any) -> set[int]:
    """The lengths of the lists in a value."""
    if isinstance(value, Mapping):
        return set().union(*map(_lengths, value.values()))
    if isinstance(value, list):
        return {len(value)}.union(*map(_lengths, value))
    return set()
