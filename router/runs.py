"""Runs made by executing practice tools: every message of them is real, every routing point in them labelled."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import user_content
from loraloop.router import composed
from loraloop.router.practice import Practice
from loraloop.router.practice_requests import argument, argument_name
from loraloop.tool_schemas import Tool, dumps

if TYPE_CHECKING:
    from loraloop.router.states import Pool

JOINTS = (
    "{a} And {b}",
    "{a} Also: {b}",
    "{a} Then {b}",
    "{a} After that, {b}",
    "First: {a} Second: {b}",
    "{a} {b}",
    "{a} And once you have it: {b}",
)
EXTRAS = (
    "tell me a joke about it.",
    "write a two-line poem about it.",
    "explain what that means.",
    "say whether that is a lot.",
    "give me some advice.",
    "put it into a friendly sentence.",
)
PYTHON: tuple[tuple[str, str], ...] = (
    ("Write Python that prints the sum of the numbers from 1 to 100 and run it.", "print(sum(range(1, 101)))"),
    ("Use python to count the letters in 'router'.", "print(len('router'))"),
    ("Compute 2 to the power of 40 with code.", "print(2 ** 40)"),
    ("Write and run a script that lists the odd numbers below 30.", "print([n for n in range(30) if n % 2])"),
    ("Reverse the string 'adapter' with a program.", "print('adapter'[::-1])"),
    ("Sort 5, 2, 9, 1 in Python and show me the output.", "print(sorted([5, 2, 9, 1]))"),
    ("Run code that prints today's square numbers up to 50.", "print([k * k for k in range(8)])"),
    ("Write Python to average 3, 4 and 8 and execute it.", "print(mean([3, 4, 8]))"),
    ("Use code to join the words of a list.", "print(' '.join(words))"),
    ("Execute Python that divides 10 by 0 and see.", "print(10 / 0)"),
    ("Write a program that parses '12a' as a number and run it.", "print(int('12a'))"),
    ("Run Python that prints the third item of a list of two.", "print([1, 2][2])"),
)


@dataclass(frozen=True, slots=True)
class Point:
    """A routing point: the transcript so far and what is right there."""

    messages: tuple[Message, ...]
    label: str | None
    unsafe: bool
    kind: str
    text: str
    source: str
    tools: tuple[Tool, ...]
    python: bool = False
    passages: bool = False


@dataclass(frozen=True, slots=True)
class Need:
    """One executable need: how it is asked, the call that serves it, and what the tool said."""

    practice: Practice
    asked: str
    call: dict[str, Any]
    outcome: dict[str, Any]

    @property
    def result(self) -> Message:
        return Message("tool", dumps(self.outcome))


def need(practice: Practice, rng: random.Random, templates: Sequence[str] = ()) -> Need:
    """Draw a request for a practice tool and execute its call."""
    while True:
        template = rng.choice(templates or practice.asks)
        values = {name: rng.choice(options) for name, options in practice.slots.items() if f"{{{name}}}" in template}
        if values.get("from_unit", 0) != values.get("to_unit", 1):
            break
    arguments = {argument_name(name): argument(name, value) for name, value in values.items()}
    call = {"name": practice.name, "arguments": arguments}
    outcome: dict[str, Any]
    try:
        outcome = {"name": practice.name, "result": practice.function(**arguments)}
    except (ValueError, KeyError, TypeError) as error:
        outcome = {"name": practice.name, "error": str(error)}
    return Need(practice, template.format(**values), call, outcome)


def _calls(*needs: Need) -> Message:
    return Message("assistant", dumps([n.call for n in needs]))


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _say(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_say(item)}" for key, item in value.items())
    if isinstance(value, list):
        return "; ".join(_say(item) for item in value)
    return str(value)


def answer(*needs: Need) -> Message:
    """What the base might say once the results are in."""
    parts = []
    for one in needs:
        failed = "error" in one.outcome
        parts.append(
            f"I could not do that: {one.outcome['error']}." if failed else f"Here it is: {_say(one.outcome['result'])}."
        )
    return Message("assistant", " ".join(parts))


def run_points(practices: Sequence[Practice], n: int, rng: random.Random, around: Pool) -> Iterator[Point]:
    """Yield the routing points of `n` runs, round all practice tools and plots; every fourth begins with passages."""
    from loraloop.router.states import system

    plots = (_single, _sequence, _sequence, _parallel, _then_code, _then_words, _follow_up, _follow_up, _injected)
    for k in range(n):
        main = practices[k % len(practices)]
        others = rng.sample([p for p in practices if p is not main], k=rng.randrange(1, 4))
        listed = [main, *others]
        rng.shuffle(listed)
        tools = tuple(Tool.from_function(p.function) for p in listed)
        head = system(rng.choice(around.instructions) if rng.random() < 0.4 else "", tools)
        plot = plots[(k // len(practices)) % len(plots)]
        passages = rng.choice(around.passages) if plot is not _follow_up and rng.random() < 0.25 else ()
        for messages, label, unsafe, kind, text in plot(main, others, rng):
            asked = (Message("user", user_content(messages[0].content, passages)), *messages[1:])
            source = f"practice_{main.name}"
            yield Point((*head, *asked), label, unsafe, kind, text, source, tools, passages=bool(passages))


Plot = Iterator[tuple[tuple[Message, ...], str | None, bool, str, str]]


def _single(main: Practice, others: Sequence[Practice], rng: random.Random) -> Plot:
    one = need(main, rng)
    asked = (Message("user", one.asked),)
    yield asked, "tools", False, "first", one.asked
    yield (*asked, _calls(one), one.result), "none", False, "tool_result", one.asked


def _two(main: Practice, others: Sequence[Practice], rng: random.Random) -> tuple[Need, Need, str]:
    one = need(main, rng)
    while "error" in one.outcome:
        one = need(main, rng)
    two = need(main if rng.random() < 0.35 else rng.choice(others), rng)
    a = one.asked if one.asked[-1] in ".?!" else one.asked + "."
    return one, two, rng.choice(JOINTS).format(a=a, b=_lower(two.asked) if rng.random() < 0.6 else two.asked)


def _sequence(main: Practice, others: Sequence[Practice], rng: random.Random) -> Plot:
    one, two, text = _two(main, others, rng)
    asked = (Message("user", text),)
    yield asked, "tools", False, "first", text
    after = (*asked, _calls(one), one.result)
    yield after, "tools", False, "tool_result", text
    yield (*after, _calls(two), two.result), "none", False, "tool_result", text


def _parallel(main: Practice, others: Sequence[Practice], rng: random.Random) -> Plot:
    one, two, text = _two(main, others, rng)
    asked = (Message("user", text),)
    yield (*asked, _calls(one, two), one.result, two.result), "none", False, "tool_result", text


def _then_code(main: Practice, others: Sequence[Practice], rng: random.Random) -> Plot:
    one = need(main, rng)
    code = composed.fill(rng.choice(composed.book()["code"][:6]), composed.book().slots, rng)
    a = one.asked if one.asked[-1] in ".?!" else one.asked + "."
    text = rng.choice(JOINTS).format(a=a, b=code)
    asked = (Message("user", text),)
    yield asked, "tools", False, "first", text
    yield (*asked, _calls(one), one.result), "code", False, "tool_result", text


def _then_words(main: Practice, others: Sequence[Practice], rng: random.Random) -> Plot:
    one = need(main, rng)
    a = one.asked if one.asked[-1] in ".?!" else one.asked + "."
    text = rng.choice(JOINTS).format(a=a, b=rng.choice(EXTRAS))
    asked = (Message("user", text),)
    yield asked, "tools", False, "first", text
    yield (*asked, _calls(one), one.result), "none", False, "tool_result", text


def _follow_up(main: Practice, others: Sequence[Practice], rng: random.Random) -> Plot:
    one, book = need(main, rng), composed.book()
    if rng.random() < 0.75:
        past: tuple[Message, ...] = (Message("user", one.asked), _calls(one), one.result, answer(one))
    else:
        chat = composed.fill(rng.choice(book.none["chat"]), book.slots, rng)
        past = (Message("user", chat), Message("assistant", "Happy to help with that."))
    again = (
        need(main, rng, main.follow)
        if main.follow and past[-1].content != "Happy to help with that."
        else need(main, rng)
    )
    asked = (*past, Message("user", again.asked))
    yield asked, "tools", False, "follow_up", again.asked
    yield (*asked, _calls(again), again.result), "none", False, "tool_result", again.asked
    for templates, label in ((book.none["follow"], "none"), (book["code"], "code"), (main.near, "none")):
        text = composed.fill(rng.choice(templates), {**book.slots, **main.slots}, rng)
        yield (*past, Message("user", text)), label, False, "follow_up", text
    other = need(rng.choice(others), rng)
    yield (*past, Message("user", other.asked)), "tools", False, "follow_up", other.asked


def _injected(main: Practice, others: Sequence[Practice], rng: random.Random) -> Plot:
    one = need(main, rng)
    poison = composed.fill(rng.choice(composed.book()["injection"]), composed.book().slots, rng)
    result = one.outcome.get("result", one.outcome.get("error"))
    bad = {"name": main.name, "result": {"text": f"{_say(result)} {poison}"}}
    asked = (Message("user", one.asked), _calls(one))
    yield (*asked, Message("tool", dumps(bad))), None, True, "tool_result", poison
    yield (*asked, one.result), "none", False, "tool_result", one.asked


def python_points(rng: random.Random, instructions: Sequence[str]) -> Iterator[Point]:
    """Points after code was run: answer if it worked, code again if it failed."""
    from loraloop.adapters.skill.contracts import code_text
    from loraloop.router.states import system

    for request, code in PYTHON:
        out, outcome = io.StringIO(), {"name": "python", "result": ""}
        try:
            with contextlib.redirect_stdout(out):
                exec(code, {})  # our own one-liners above, nothing from outside
            outcome["result"] = out.getvalue()
        except Exception as error:
            outcome = {"name": "python", "error": f"{type(error).__name__}: {error}"}
        for dressed in (request, "Please: " + _lower(request)):
            head = system(rng.choice(instructions) if rng.random() < 0.5 else "", ())
            asked = (*head, Message("user", dressed))
            yield Point(asked, "code", False, "first", dressed, "practice_python", (), True)
            done = (*asked, Message("assistant", code_text(code)), Message("tool", dumps(outcome)))
            yield Point(
                done,
                "code" if "error" in outcome else "none",
                False,
                "tool_result",
                dressed,
                "practice_python",
                (),
                True,
            )
