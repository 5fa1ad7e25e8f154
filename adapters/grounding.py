"""How the calls of a step stand to what was said: which of their values nobody said, and what was said that none has.

These are the features by which `reranking` compares the texts that a search found, beside what the search knows of
them. All are counts, but for the ones that say so, and none needs a model: figures, names and sentences are found by
their form.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from loraloop.adapters.base.messages import Message
from loraloop.adapters.value_forms import MONTHS, days, misshapen, times

Call = Mapping[str, Any]

FEATURES = {
    "log_probability": "of the text, over what the grammar allows (not a count)",
    "entropy": "of the choices that led to the text, in nats (not a count)",
    "calls": "in the text",
    "values_said": "values in it, booleans aside, that somebody said",
    "complete": "1 where somebody said all values, and no call lacks what the request says",
    "shared": "words that the request shares with the tools called, on the mean (not a count)",
    "optional": "arguments given that the tool does not require",
    "flags": "of these, booleans",
    "optional_unsaid": "of these, other values that nobody said",
    "numbers_unsaid": "numbers that nobody said",
    "texts_unsaid": "texts that nobody said",
    "choices_unsaid": "values of an enum that nobody said",
    "figures_left": "figures of the request that no call has",
    "names_left": "capitalised words of the request that no call has",
    "quotes_left": "quoted texts of the request that no call has",
    "sentences_left": "sentences of the request of which no call has a value",
    "same_call": "calls that stand twice in the text",
    "done_before": "calls that the transcript has already",
    "calls_crossed": "pairs of calls whose values stand in the request the other way round",
    "near_other": "values that stand nearer to another argument's name than to their own",
    "near_stranger": "of the values that stand near no argument's name, those that stand near one of another tool",
    "misshapen": "texts that have not the form that their argument's description names or shows",
    "relevance": "words that the request shares with the tools called, less those of the best other (not a count)",
    "tools_left": "tools that share words with the request and are not called",
    "none": "1 for the empty list",
    "none_log_odds": "log-odds of calling nothing, for the empty list (not a count)",
    "none_relevance": "words that the request shares with the best tool, for the empty list (not a count)",
    "none_left": "figures, names and quotes of the request that no call before has, for the empty list",
    "none_after": "1 for the empty list after a tool's result",
}
"""The features, and what each of them counts."""
UNSAID = ("numbers_unsaid", "texts_unsaid", "choices_unsaid")
LEFT = ("figures_left", "names_left", "quotes_left", "sentences_left")
"""Features of which any says that calls may be missing."""

_UNITS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_WORDS = {word: float(number) for number, word in enumerate(_UNITS)} | {
    **dict.fromkeys(("single", "once"), 1.0),
    "thirty": 30.0,
    "forty": 40.0,
    "fifty": 50.0,
    "hundred": 100.0,
    "half": 0.5,
    "dozen": 12.0,
    "twice": 2.0,
}
_SCALES = {"hundred": 1e2, "thousand": 1e3, "k": 1e3, "million": 1e6, "m": 1e6, "billion": 1e9, "dozen": 12.0}
_SCALE = r"hundred|thousand|million|billion|dozen"
_FIGURE = re.compile(
    rf"(?<![\w.])(?P<digits>[-−]?\d[\d,]*(?:\.\d+)?)\s?(?P<unit>(?:{_SCALE}|k|m)\b|%|percent\b)?"
    rf"|\b(?P<word>{'|'.join(_WORDS)})\b(?:\s(?P<scale>{_SCALE})\b)?",
    re.IGNORECASE,
)
_NAME = re.compile(r"(?<![.?!:\n] )(?<!^)(?<!\n)\b[A-Z][\w'’-]*")
_NO_NAMES = frozenset(("I", "I'm", "I'd", "I'll", "I've", "Also", "Then", "And"))
_QUOTE = re.compile(r"[\"“‘']([^\"”’']{2,60})[\"”’'](?!\w)")
_SENTENCE = re.compile(r"[^.?!\n;]+(?:\.(?=\S)[^.?!\n;]+)*")
_WORD = re.compile(r"[A-Za-z]+|\d[\d.,]*")
_ARTICLES = frozenset(("a", "an", "the", "this", "that", "my", "your", "its", "it"))
_FAR = 9
RELEVANT = 0.5
"""From which share of words a tool is one that the request is about."""


class Figure(NamedTuple):
    """A number that is said: where, its values (5 % is 5 and 0.05, 5k is 5 and 5000), and whether in words."""

    place: int
    values: frozenset[float]
    word: bool


def figures(text: str) -> list[Figure]:
    """The numbers that a text says, in digits or words."""
    found = []
    for match in _FIGURE.finditer(text):
        if word := match["word"]:
            value = _WORDS[word.lower()]
            values = {value, value * _SCALES[match["scale"].lower()]} if match["scale"] else {value}
        else:
            value = float(match["digits"].replace(",", "").replace("−", "-"))
            unit = (match["unit"] or "").lower()
            values = {value}
            if unit in ("%", "percent"):
                values.add(round(value / 100, 8))
            elif unit:
                values.add(value * _SCALES[unit])
        found.append(Figure(match.start(), frozenset(values), bool(word)))
    return found


@dataclass(slots=True)
class Said:
    """What the transcript of a step says, read once for all texts that are compared.

    Args:
        messages: The transcript; the last user message is the request.
        tools: Those offered: name, description and parameters.
    """

    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]]
    request: str = field(init=False)
    figures: list[Figure] = field(init=False)
    _context: str = field(init=False)
    _plain: str = field(init=False)
    _numbers: set[float] = field(init=False)
    _names: list[str] = field(init=False)
    _quotes: list[str] = field(init=False)
    _sentences: list[tuple[int, int]] = field(init=False)
    _words: list[tuple[int, str]] = field(init=False)
    _relevance: dict[str, float] = field(init=False)
    _days: set[tuple[int, int]] = field(init=False)
    _times: set[int] = field(init=False)
    _arguments: set[str] = field(init=False)
    _before: set[str] = field(init=False)
    _done: list[Call] = field(init=False)

    def __post_init__(self) -> None:
        spoken = [message for message in self.messages if message.role != "system"]
        self.request = next((m.content for m in reversed(spoken) if m.role == "user"), "")
        self._context = "\n".join(message.content for message in spoken)
        self._plain = f" {_plain(self._context)} "
        self.figures = figures(self.request)
        self._numbers = {value for figure in figures(self._context) for value in figure.values}
        self._days, self._times = days(self._context), times(self._context)
        self._names = [found for found in _NAME.findall(self.request) if found not in _NO_NAMES]
        self._quotes = _QUOTE.findall(self.request)
        self._sentences = [m.span() for m in _SENTENCE.finditer(self.request) if len(m[0].split()) > 2]
        self._words = [(match.start(), _stem(match[0])) for match in _WORD.finditer(self.request)]
        said = {_stem(match[0]) for match in _WORD.finditer(self.request) if len(match[0]) > 3}
        self._relevance = {tool["name"]: _relevance(tool, said) for tool in self.tools}
        names = {name for tool in self.tools for name in self._schema(tool["name"]).get("properties", {})}
        self._arguments = {_stem(word) for name in names for word in _parts(name) if len(word) > 1}
        self._before = {_key(call) for message in spoken for call in _calls_of(message)}
        last = max((at for at, message in enumerate(spoken) if message.role == "user"), default=0)
        self._done = [call for message in spoken[last:] for call in _calls_of(message)]

    def features(self, calls: Sequence[Call]) -> dict[str, float]:
        """The features of a list of calls, by their names in `FEATURES`; those that are zero are left out."""
        has, found, left = _Has(), Counter[str](), Counter[str]()
        for call in self._done:
            self._call(call, Counter(), has)
        if not calls:
            self._left(left, has)
            return {
                "none": 1,
                "none_relevance": max(self._relevance.values(), default=0.0),
                "none_left": left["figures_left"] + left["names_left"] + left["quotes_left"],
                "none_after": bool(self.messages) and self.messages[-1].role == "tool",
            }
        has.firsts.clear()
        for call in calls:
            self._call(call, found, has)
        found["calls"] = len(calls)
        found["same_call"] = len(calls) - len({_key(call) for call in calls})
        found["done_before"] = sum(_key(call) in self._before for call in calls)
        found["calls_crossed"] = sum(a > b for at, a in enumerate(has.firsts) for b in has.firsts[at + 1 :])
        called = {call["name"] for call in calls}
        found["tools_left"] = sum(each > RELEVANT and name not in called for name, each in self._relevance.items())
        self._left(found, has)
        found["complete"] = bool(found["values_said"]) and not any(found[name] for name in (*UNSAID, *LEFT))
        means = {name: found[name] / len(calls) for name in ("relevance", "shared")}
        return {name: count for name, count in {**found, **means}.items() if count}

    def unsaid(self, call: Call) -> tuple[str, ...]:
        """Required arguments of a call of which nobody said any value; booleans are not looked at."""
        found = []
        for name in self._schema(call["name"]).get("required", ()):
            values = [value for value in leaves(call["arguments"].get(name)) if not isinstance(value, bool | None)]
            if values and not any(self._is_said(value, name) for value in values):
                found.append(name)
        return tuple(found)

    def missing(self, calls: Sequence[Call]) -> tuple[str, ...]:
        """What has to be asked for so that calls can be made: what is `unsaid` of the first whose tool is asked for."""
        asked = (call for call in calls if self._relevance.get(call["name"], 0.0) >= RELEVANT)
        return next(filter(None, map(self.unsaid, asked)), ())

    def _call(self, call: Call, found: Counter[str], has: _Has) -> None:
        """Adds the features of one call, and what it has."""
        schema = self._schema(call["name"])
        required, properties = set(schema.get("required", ())), schema.get("properties", {})
        placed: list[tuple[int, int, str]] = []  # where a value stands that stands once, its length, its argument
        for name, given in call["arguments"].items():
            unsaid = 0
            for value in leaves(given):
                if isinstance(value, bool):
                    found["flags"] += name not in required
                elif isinstance(value, int | float):
                    has.numbers.add(_number(value))
                    if self._is_said(value, name):
                        found["values_said"] += 1
                    else:
                        found["numbers_unsaid"] += 1
                        unsaid = 1
                    places = [figure.place for figure in self.figures if _number(value) in figure.values]
                    if len(places) == 1:
                        placed.append((places[0], 2, name))
                elif isinstance(value, str):
                    unsaid |= self._text(value, name, properties.get(name), found, has)
                    place = self.request.lower().find(value.lower())
                    if place >= 0 and len(value) > 1 and self.request.lower().count(value.lower()) == 1:
                        placed.append((place, len(value), name))
                    if place >= 0:
                        has.places.append(place)
            if name not in required:
                found["optional"] += 1
                found["optional_unsaid"] += unsaid
        self._near(placed, properties, found)
        mine = self._relevance.get(call["name"], 0.0)
        others = [each for name, each in self._relevance.items() if name != call["name"]]
        found["relevance"] += mine - max(others, default=mine)  # type: ignore[assignment]
        found["shared"] += mine  # type: ignore[assignment]
        has.places += [place for place, *_ in placed]
        if placed:
            has.firsts.append(min(place for place, *_ in placed))

    def _text(self, value: str, name: str, schema: Any, found: Counter[str], has: _Has) -> int:
        """Adds the features of a text; whether nobody said it."""
        has.texts.append(_plain(value))
        has.parts |= {number for figure in figures(value) for number in figure.values}
        has.parts |= {float(part) for part in re.findall(r"\d+", value)}
        if isinstance(schema, dict) and isinstance(told := schema.get("description"), str):
            found["misshapen"] += misshapen(value, told)
        if self._is_said(value, name):
            found["values_said"] += 1
            return 0
        parts = (schema, schema.get("items")) if isinstance(schema, dict) else ()
        choice = any(isinstance(part, dict) and "enum" in part for part in parts)
        found["choices_unsaid" if choice else "texts_unsaid"] += 1
        return 1

    def _near(self, placed: Sequence[tuple[int, int, str]], properties: Mapping[str, Any], found: Counter[str]) -> None:
        """Counts values by whether the nearest name of an argument is that of their own."""
        names = {name: {_stem(word) for word in _parts(name) if len(word) > 1} for name in properties}
        for place, width, own in placed:
            first, after = bisect_left(self._words, (place, "")), bisect_left(self._words, (place + width, ""))
            before = self._words[max(0, first - 4) : first][::-1]
            distance = dict.fromkeys(names, _FAR)
            for side in (before, self._words[after : after + 3]):
                for away, (_, word) in enumerate(side, 1):
                    for name, words in names.items():
                        if word in words:
                            distance[name] = min(distance[name], away)
            nearest = min(distance.values(), default=_FAR)
            found["near_other"] += nearest < distance.get(own, _FAR)
            around = {word for _, word in (*before[:2], *self._words[after : after + 1])}
            found["near_stranger"] += nearest == _FAR and bool(around & self._arguments)

    def _left(self, found: Counter[str], has: _Has) -> None:
        """Counts what the request says and no call has."""
        texts = " ".join(has.texts)
        places = has.places + [each.place for each in self.figures if each.values & has.numbers]
        for figure in self.figures:
            if not figure.word and not figure.values & (has.numbers | has.parts):
                found["figures_left"] += 1
        months = {MONTHS[int(month) - 1] for month in re.findall(r"\d{4} (0[1-9]|1[0-2]) \d\d", texts)}
        found["names_left"] = sum(_plain(name) not in texts and name.lower() not in months for name in self._names)
        found["quotes_left"] = sum(_plain(quote) not in texts for quote in self._quotes)
        found["sentences_left"] = sum(not any(a <= place < b for place in places) for a, b in self._sentences)

    def _is_said(self, value: Any, name: str) -> bool:
        """Whether somebody said a value; `the film` for an argument `film` says none."""
        if isinstance(value, str):
            plain = _plain(value)
            empty = plain and not set(plain.split()) - _ARTICLES - set(_parts(name))
            return not plain or (f" {plain} " in self._plain and not empty) or self._is_said_otherwise(value)
        return not isinstance(value, int | float) or _number(value) in self._numbers or str(value) in self._context

    def _is_said_otherwise(self, value: str) -> bool:
        """Whether a day or a time was said in another form, or a place without what is round it (`Oslo, Norway`)."""
        place, comma, _ = value.partition(", ")
        within = bool(comma) and bool(place := _plain(place)) and f" {place} " in self._plain
        return within or bool(days(value) & self._days) or bool(times(value) & self._times)

    def _schema(self, name: str) -> Mapping[str, Any]:
        found: Any = next((tool["parameters"] for tool in self.tools if tool["name"] == name), {})
        return found if isinstance(found, dict) else {}


@dataclass(slots=True)
class _Has:
    """What the calls of a text have: numbers, also within texts, texts, and where their values stand in the request."""

    numbers: set[float] = field(default_factory=set)
    parts: set[float] = field(default_factory=set)
    texts: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    firsts: list[int] = field(default_factory=list)


def read_calls(text: str) -> list[dict[str, Any]] | None:
    """The calls that a text lists; None if it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, list):
        return None
    fits = all(
        isinstance(c, dict) and isinstance(c.get("name"), str) and isinstance(c.get("arguments"), dict) for c in found
    )
    return found if fits else None


def _number(value: int | float) -> float:
    """A number of JSON, in which an integer may be larger than any float."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _calls_of(message: Message) -> list[dict[str, Any]]:
    return (read_calls(message.content) or []) if message.role == "assistant" else []


def leaves(value: Any) -> Iterator[Any]:
    """What stands in a JSON value, without its lists and objects."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from leaves(each)
    else:
        yield value


def _relevance(tool: Mapping[str, Any], said: set[str]) -> float:
    words = {_stem(word) for word in _parts(tool["name"] + " " + tool.get("description", "")) if len(word) > 3}
    return float(len(words & said) / (1 + len(words)) ** 0.5)


def _parts(name: str) -> list[str]:
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


def _stem(word: str) -> str:
    return word.lower()[:5]


def _plain(text: str) -> str:
    return re.sub(r"[^\w]+|_", " ", text.lower()).strip()


def _key(call: Call) -> str:
    return json.dumps(call, sort_keys=True)
