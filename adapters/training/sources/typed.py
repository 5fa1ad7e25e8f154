"""Tool specifications in a small notation, and typed values with the words a user has for them.

A specification is a header, arguments, and requests:

    solve quadratic | Roots of a quadratic equation.        words of the name | description
     a: int(1,12) | Coefficient of x squared                name: kind | description
     digits?: int(1,5) = 2 | Decimals | to {digits} digits  optional: default, and the clause that asks for it
    > Solve the quadratic with a={a}                        a request
    ~ a={a}                                                 the request in short, after "and also for"
    ! Solve a quadratic equation for me.                    a request that lacks something required
    & Solve the quadratic of {pupil}                        a request for the tool before and this one with its result

Kinds: `int(low,high,step)`, `num(low,high,decimals)`, `rate` (a fraction, said in percent), `pct(low,high)` (a number,
said in percent), `bool`, `date`, `when`, `poly` (a function of x), `enum(a/b)`, `pool(name)`, `code(L)` (L and a
number), `[kind](least,most)`, `{name: kind, …}`. The clause of a flag has two wordings parted by `//`; in a request it
is `{flag:words if true//words if false}`.
"""

from __future__ import annotations

import datetime
import itertools
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from loraloop.adapters.training.sources.typed_forms import polynomial, spoken
from loraloop.adapters.training.sources.typed_pools import MADE_UP, POOLS, pooled

_NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)


@dataclass(frozen=True, slots=True)
class Kind:
    """The type of an argument: a form and its parameters."""

    form: str
    options: tuple[Any, ...] = ()

    def schema(self) -> dict[str, Any]:
        """Its JSON Schema, without a description."""
        match self.form:
            case "int":
                return {"type": "integer"}
            case "num" | "rate" | "pct":
                return {"type": "number"}
            case "bool":
                return {"type": "boolean"}
            case "enum":
                return {"type": "string", "enum": list(self.options)}
            case "array":
                return {"type": "array", "items": self.options[0].schema()}
            case "object":
                properties = {name: kind.schema() for name, kind in self.options}
                return {"type": "object", "properties": properties, "required": list(properties)}
            case _:
                return {"type": "string"}


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a made tool."""

    name: str
    kind: Kind
    description: str
    required: bool = True
    default: Any = None
    clause: str = ""


@dataclass(frozen=True, slots=True)
class Spec:
    """A made tool: what it does, its arguments, and how a user asks for it."""

    domain: str
    words: str
    description: str
    arguments: tuple[Argument, ...]
    requests: tuple[str, ...]
    short: str = ""
    lacking: tuple[str, ...] = ()
    chained: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    """Requests in a larger base's words, see `wording`."""

    def says(self, request: str) -> bool:
        """Whether a request says just what is required; tools of two domains may have the same words."""
        return set(re.findall(r"\{(\w+)", request)) == {a.name for a in self.arguments if a.required}

    def request(self, rng: random.Random) -> str:
        """One of the requests; those in other words share a third of the draws."""
        return rng.choice(self.said if self.said and rng.random() < 1 / 3 else self.requests)

    def argument(self, name: str) -> Argument:
        """The argument of this name."""
        return next(argument for argument in self.arguments if argument.name == name)


@dataclass(frozen=True, slots=True)
class Value:
    """A value for an argument, and its wording in a request."""

    value: Any
    words: str


@lru_cache(maxsize=1)
def specs() -> tuple[Spec, ...]:
    """All made tools."""
    from loraloop.adapters.training.sources import (
        typed_catalog,
        typed_catalog_chained,
        typed_catalog_chains,
        typed_catalog_figures,
        typed_catalog_services,
        typed_catalog_work,
        typed_catalog_world,
    )

    parts = (typed_catalog, typed_catalog_world, typed_catalog_work, typed_catalog_figures, typed_catalog_services)
    chained = (typed_catalog_chains, typed_catalog_chained)
    said: dict[str, list[str]] = {}
    for line in said_file().read_text(encoding="utf-8").splitlines():
        words, _, text = line.partition(" | ")
        said.setdefault(words, []).append(text)
    made = (spec for part in (*parts, *chained) for spec in parse(part.CATALOG))
    return tuple(replace(spec, said=tuple(filter(spec.says, said.get(spec.words, ())))) for spec in made)


def said_file() -> Path:
    """Requests in a larger base's words: lines `words of the tool | request`, made by `wording` and then read."""
    return Path(__file__).with_name("typed_said.txt")


def chains() -> tuple[tuple[Spec, Spec], ...]:
    """Pairs of made tools: the first argument of the second is what the first one finds."""
    return tuple((first, second) for first, second in itertools.pairwise(specs()) if second.chained)


@lru_cache(maxsize=1)
def family_specs() -> tuple[Spec, ...]:
    """Made tools that are the same few operations on many kinds of things."""
    from loraloop.adapters.training.sources.typed_families import catalog

    return parse(catalog())


def parse(text: str) -> tuple[Spec, ...]:
    """Reads specifications.

    Raises:
        ValueError: A line is not in the notation.
    """
    found: list[Spec] = []
    domain, block = "", list[str]()
    for line in [*text.strip().splitlines(), "@ end"]:
        starts = line.startswith("@") or (line[:1].isalpha() and " | " in line)
        if starts and block:
            found.append(_spec(domain, block))
            block = []
        if line.startswith("@"):
            domain = line[1:].strip()
        else:
            block.append(line)
    return tuple(found)


def _spec(domain: str, lines: list[str]) -> Spec:
    words, description = lines[0].split(" | ")
    marks: dict[str, list[str]] = {">": [], "~": [], "!": [], "&": []}
    arguments = []
    for line in lines[1:]:
        if line[0] in marks:
            marks[line[0]].append(line[1:].strip())
        elif line[0] == " ":
            arguments.append(_argument(line))
        else:
            raise ValueError(f"not in the notation of made tools: {line!r}")
    return Spec(
        domain,
        words,
        description,
        tuple(arguments),
        tuple(marks[">"]),
        "".join(marks["~"]),
        tuple(marks["!"]),
        tuple(marks["&"]),
    )


def _argument(line: str) -> Argument:
    head, *rest = line.strip().split(" | ")
    name, _, kind_text = head.partition(": ")
    kind_text, _, default_text = kind_text.partition(" = ")
    kind = _kind(kind_text)
    default: Any = default_text or None
    if default is not None and kind.form in ("int", "num", "rate", "pct"):
        default = float(default) if "." in default else int(default)
    elif default is not None and kind.form == "bool":
        default = default == "true"
    clause = rest[1] if len(rest) > 1 else ""
    return Argument(name.rstrip("?"), kind, rest[0], not name.endswith("?"), default, clause)


def _kind(text: str) -> Kind:
    text = text.strip()
    if text.startswith("["):
        inner, _, bounds = text[1:].rpartition("](")
        low, high = bounds.rstrip(")").split(",")
        return Kind("array", (_kind(inner), int(low), int(high)))
    if text.startswith("{"):
        parts = re.findall(r"(\w+): (\w+(?:\([^)]*\))?)", text[1:-1])
        return Kind("object", tuple((name, _kind(kind)) for name, kind in parts))
    form, _, inside = text.partition("(")
    inside = inside.rstrip(")")
    if form in ("int", "num", "pct"):
        return Kind(form, tuple(float(x) if "." in x else int(x) for x in inside.split(",")))
    if form == "enum":
        return Kind(form, tuple(inside.split("/")))
    if form == "pool" and inside not in POOLS and inside not in MADE_UP:
        raise ValueError(f"no pool {inside!r}")
    return Kind(form, (inside,) if inside else ())


def draw(kind: Kind, rng: random.Random, clause: str = "") -> Value:
    """A random value of a kind, with its wording.

    Args:
        kind: The type.
        rng: Source of randomness.
        clause: Wordings of a flag, `if true//if false`.
    """
    match kind.form:
        case "int":
            low, high, step = (*kind.options, 1)[:3]
            number = rng.randrange(int(low), int(high) + 1, int(step))
            return Value(number, _said_integer(number, rng))
        case "num":
            low, high, decimals = kind.options
            value = round(rng.uniform(low, high), int(decimals))
            whole = int(value) if value == int(value) else value
            return Value(whole, str(whole))
        case "rate":
            percent = rng.choice((1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 2.5, 3.5, 4.25, 5.5))
            return Value(round(percent / 100, 6), rng.choice((f"{percent}%", f"{percent} percent")))
        case "pct":
            percent = rng.randint(*kind.options)
            return Value(percent, rng.choice((f"{percent}%", f"{percent} percent")))
        case "bool":
            flag = rng.random() < 0.6
            yes, _, no = clause.partition("//")
            return Value(flag, (yes if flag else no).strip())
        case "date":
            return _date(rng)
        case "enum":
            option = rng.choice(kind.options)
            return Value(option, spoken(kind, option, rng))
        case "array":
            return _array(kind, rng)
        case "object":
            drawn = {name: draw(part, rng) for name, part in kind.options}
            said = _list([_pair(name, value) for name, value in drawn.items()], rng, False)
            return Value({name: value.value for name, value in drawn.items()}, said)
        case "code":
            return _same(f"{kind.options[0]}{rng.randrange(2, rng.choice((10, 100, 100, 1000)))}")
        case "when":
            return _same(rng.choice(POOLS["when"]))
        case "poly":
            return Value(*polynomial(rng))
        case _:
            word = pooled(kind.options[0], rng)
            return Value(word, spoken(kind, word, rng))


def drawn(arguments: Sequence[Argument], rng: random.Random) -> dict[str, Value]:
    """Random values of some arguments; those of one kind of words differ, as in `from Rome to Oslo`."""
    found: dict[str, Value] = {}
    for argument in arguments:
        value = draw(argument.kind, rng, argument.clause)
        twins = [found[a.name].value for a in arguments if a.name in found and a.kind == argument.kind]
        for _ in range(8):
            if argument.kind.form not in ("enum", "pool") or value.value not in twins:
                break
            value = draw(argument.kind, rng, argument.clause)
        found[argument.name] = value
    return found


def _same(text: str) -> Value:
    return Value(text, text)


def _pair(name: str, value: Value) -> str:
    label = name.replace("_", " ")
    return value.words if label == "name" or label == "product" else f"{label} {value.words}"


def _said_integer(number: int, rng: random.Random) -> str:
    if 0 < number < len(_NUMBER_WORDS) and rng.random() < 0.15:
        return _NUMBER_WORDS[number]
    for size, words in ((10**6, (" million", "M")), (1000, (" thousand", "k")), (100, (" hundred",))):
        times, rest = divmod(number, size)
        if not rest and 0 < times < (10 if size == 100 else 1000) and not 1000 <= number <= 2100 and rng.random() < 0.2:
            word = rng.choice(words)
            return f"{_NUMBER_WORDS[times] if times < 13 and word[0] == ' ' else times}{word}"
    return f"{number:,}" if number >= 10000 and rng.random() < 0.5 else str(number)


def _array(kind: Kind, rng: random.Random) -> Value:
    item, low, high = kind.options
    count = rng.randint(low, high)
    drawn: list[Value] = []
    for _ in range(count * 4):
        value = draw(item, rng)
        if len(drawn) < count and (value.value not in [d.value for d in drawn] or item.form in ("int", "num", "array")):
            drawn.append(value)
    values = [value.value for value in drawn]
    if item.form in ("int", "num", "array"):
        plain = [str(value) for value in values]
        brackets = item.form == "array" or (low == high == 2) or rng.random() < 0.5
        said = "[" + ", ".join(plain) + "]" if brackets else _list(plain, rng, low == high == 2)
        return Value(values, said)
    separator = item.form == "object"
    words = [value.words for value in drawn]
    return Value(values, "; ".join(words) if separator else _list(words, rng, False))


def _list(words: list[str], rng: random.Random, pair: bool) -> str:
    if len(words) < 2:
        return "".join(words)
    last = " and " if pair or len(words) == 2 or rng.random() < 0.7 else ", and "
    return ", ".join(words[:-1]) + last + words[-1]


def _date(rng: random.Random) -> Value:
    day = datetime.date(2022, 1, 1) + datetime.timedelta(days=rng.randrange(1500))
    month = day.strftime("%B")
    ending = {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10 if day.day not in (11, 12, 13) else 0, "th")
    words = rng.choice(
        (
            day.isoformat(),
            f"{month} {day.day}, {day.year}",
            f"{day.day} {month} {day.year}",
            f"{month} {day.day}{ending}, {day.year}",
            f"the {day.day}{ending} of {month} {day.year}",
        )
    )
    return Value(day.isoformat(), words)


def fill(template: str, values: Mapping[str, Value]) -> str:
    """A request with its values said."""

    def said(match: re.Match[str]) -> str:
        name, _, flags = match[1].partition(":")
        if flags:
            yes, _, no = flags.partition("//")
            return (yes if values[name].value else no).strip()
        return values[name].words

    return re.sub(r"\{(\w+(?::[^}]*)?)\}", said, template)
