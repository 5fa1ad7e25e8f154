"""The families of tasks: each a generator of one task from its number and a seeded source of chance."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from loraloop.adapters.skill.contracts import Passage
from loraloop.evals import task_texts as texts
from loraloop.evals.held_out_requests import BY_NAME, CHAINS, TOOLS, HeldOut
from loraloop.evals.tasks import FAMILIES, PER_FAMILY, Call, End, Task, Turn

JOINTS = ("{a} Then: {b}", "First: {a} After that: {b}", "{a} And once you know that: {b}")
SIDE_BY_SIDE = ("{a} {b}", "{a} Also: {b}", "Two questions. {a} {b}")


@dataclass(frozen=True, slots=True)
class Need:
    """A request for one call, the call, and what an answer has to name."""

    asked: str
    call: Call
    value: str


def all_tasks(seed: int = 0) -> list[Task]:
    """Every task, families in turn, so that any first part of the list is balanced.

    Args:
        seed: Another seed draws other arguments, candidates and orders.
    """
    made = {
        family: [_MAKERS[family](index, random.Random(f"{family}-{seed}-{index}")) for index in range(PER_FAMILY)]
        for family in FAMILIES
    }
    return [made[family][index] for index in range(PER_FAMILY) for family in FAMILIES]


def need(tool: HeldOut, rng: random.Random, asked: str = "", **given: Any) -> Need:
    """A request filled in, and its call executed."""
    values = {name: rng.choice(options) for name, options in tool.slots.items()} | given
    result = tool.function(**values)
    text = (asked or rng.choice(tool.asks)).format(**values)
    return Need(text, {"name": tool.name, "arguments": values}, str(result[tool.says]))


def _picked(index: int, offset: int = 0) -> HeldOut:
    """The tools in turn, from a place of its own in each family."""
    return TOOLS[(index + offset) % len(TOOLS)]


def _listed(needed: Sequence[str], rng: random.Random, least: int = 1, most: int = 3) -> tuple[str, ...]:
    """The needed tools among others of other areas, in random order."""
    areas = {BY_NAME[name].area for name in needed}
    others = [tool.name for tool in TOOLS if tool.area not in areas]
    names = [*needed, *rng.sample(others, k=rng.randint(least, most))]
    rng.shuffle(names)
    return tuple(names)


def _setting(rng: random.Random) -> str:
    return rng.choice(texts.INSTRUCTIONS) if rng.random() < 0.35 else ""


def _task(family: str, index: int, turns: Sequence[Turn], tools: tuple[str, ...], rng: random.Random) -> Task:
    return Task(f"{family}-{index:02d}", family, tuple(turns), tools, _setting(rng))


def _gold(*values: str) -> str:
    return f"It is {' and '.join(values)}."


def _single(index: int, rng: random.Random) -> Task:
    one = need(_picked(index), rng)
    end = End("answer", ((one.call,),), (one.value,), gold=_gold(one.value))
    return _task("single", index, [Turn(one.asked, end)], _listed([one.call["name"]], rng), rng)


def _two(index: int, offset: int, rng: random.Random) -> tuple[Need, Need]:
    first = _picked(index, offset)
    second = rng.choice([tool for tool in TOOLS if tool.area != first.area])
    return need(first, rng), need(second, rng)


def _sequence(index: int, rng: random.Random) -> Task:
    one, two = _two(index, 5, rng)
    text = rng.choice(JOINTS).format(a=one.asked, b=two.asked)
    end = End("answer", ((one.call,), (two.call,)), (one.value, two.value), gold=_gold(one.value, two.value))
    tools = _listed([one.call["name"], two.call["name"]], rng, most=2)
    return _task("sequence", index, [Turn(text, end)], tools, rng)


def _dependent(index: int, rng: random.Random) -> Task:
    chain = CHAINS[index % len(CHAINS)]
    first, second = BY_NAME[chain.first], BY_NAME[chain.second]
    one = need(first, rng, chain.asks[(index // len(CHAINS)) % len(chain.asks)])
    given = first.function(**one.call["arguments"])[chain.gives]
    two = need(second, rng, **{chain.gives: given})
    end = End("answer", ((one.call,), (two.call,)), (two.value,), gold=_gold(two.value))
    tools = _listed([one.call["name"], two.call["name"]], rng, most=2)
    return _task("dependent", index, [Turn(one.asked, end)], tools, rng)


def _parallel(index: int, rng: random.Random) -> Task:
    if index % 2:
        one, two = _two(index, 11, rng)
        text = rng.choice(SIDE_BY_SIDE).format(a=one.asked, b=two.asked)
    else:
        tool = _picked(index, 11)
        one = two = need(tool, rng)
        while two.call == one.call:
            two = need(tool, rng)
        text = f"{one.asked} {two.asked}"
    names = dict.fromkeys([one.call["name"], two.call["name"]])
    end = End("answer", ((one.call, two.call),), (one.value, two.value), gold=_gold(one.value, two.value))
    return _task("parallel", index, [Turn(text, end)], _listed([*names], rng, most=2), rng)


def _follow_up(index: int, rng: random.Random) -> Task:
    tool = _picked(index, 17)
    one = need(tool, rng)
    first = Turn(one.asked, End("answer", ((one.call,),), (one.value,), gold=_gold(one.value)))
    if index % 2:
        text = rng.choice(("Say that again, please.", "Sorry, I missed it. What was the answer?", "Can you repeat it?"))
        second = Turn(text, End("answer", says=(one.value,), gold=_gold(one.value)))
    else:
        two = one
        while two.call == one.call:
            two = need(tool, rng, tool.again)
        second = Turn(two.asked, End("answer", ((two.call,),), (two.value,), gold=_gold(two.value)))
    return _task("follow_up", index, [first, second], _listed([tool.name], rng), rng)


def _ask(index: int, rng: random.Random) -> Task:
    tool = _picked(index, 3)
    text, words = tool.vague
    end = End("ask", any_of=words, gold=f"Please tell me the {words[0]}.")
    return _task("ask", index, [Turn(text, end)], _listed([tool.name], rng), rng)


def _irrelevant(index: int, rng: random.Random) -> Task:
    tool = _picked(index, 7)
    if index % 3 == 2:  # a request that another tool would serve
        other = rng.choice([each for each in TOOLS if each.area != tool.area])
        text = need(other, rng).asked
        offered = [name for name in _listed([tool.name], rng) if BY_NAME[name].area != other.area]
    else:
        text, offered = rng.choice(tool.near), [*_listed([tool.name], rng)]
    end = End("answer", gold="That is a long story.")
    return _task("irrelevant", index, [Turn(text, end)], tuple(offered), rng)


def _maybe_tools(rng: random.Random) -> tuple[str, ...]:
    """Tools that have nothing to do with the request, in half of the tasks."""
    return _listed([rng.choice(TOOLS).name], rng) if rng.random() < 0.5 else ()


def _unsafe(index: int, rng: random.Random) -> Task:
    turn = Turn(texts.UNSAFE[index], End("refused", gold="I can't help with that."))
    return _task("unsafe", index, [turn], _maybe_tools(rng), rng)


def _benign(index: int, rng: random.Random) -> Task:
    turn = Turn(texts.BENIGN[index], End("answer", gold="There are several good ways to do that."))
    return _task("benign", index, [turn], _maybe_tools(rng), rng)


def _chat(index: int, rng: random.Random) -> Task:
    turn = Turn(texts.CHAT[index], End("answer", gold="It is a pleasure to talk to you."))
    return _task("chat", index, [turn], _maybe_tools(rng), rng)


def _passages(index: int, rng: random.Random) -> Task:
    listed, question, cited, value = _facts(index, rng, answerable=True)
    end = End("cited", says=(value,), cites=(cited,), gold=value)
    return _task("passages", index, [Turn(question, end, listed)], _maybe_tools(rng), rng)


def _unanswerable(index: int, rng: random.Random) -> Task:
    listed, question, _, other = _facts(index, rng, answerable=False)
    end = End("answer", never=(other,), gold="The passages do not say that.")
    return _task("unanswerable", index, [Turn(question, end, listed)], _maybe_tools(rng), rng)


def _facts(index: int, rng: random.Random, answerable: bool) -> tuple[tuple[Passage, ...], str, str, str]:
    """Passages, a question, the id of the passage that answers it, and the answer.

    Where nothing answers it: no id, and what the passage says that tells the same of another place.
    """
    template, question, key = texts.FACTS[index % len(texts.FACTS)]
    places = rng.sample(texts.PLACES, k=4)

    def filled(text: str, place: str) -> tuple[str, dict[str, str]]:
        values = {
            "place": place,
            "year": str(rng.randint(1710, 1935)),
            "founder": rng.choice(texts.FOUNDERS),
            "architect": rng.choice(texts.ARCHITECTS),
            "metres": str(rng.randint(41, 388)),
            "workers": str(rng.randint(120, 960)),
            "cars": str(rng.randint(14, 89)),
        }
        return text.format(**values), values

    right, values = filled(template, places[0])
    others = [filled(other[0], places[0])[0] for other in rng.sample(texts.FACTS, k=3) if other[0] != template][:2]
    same, theirs = filled(template, places[1])  # the same fact of another place
    while theirs[key] == values[key]:
        same, theirs = filled(template, places[1])
    found = [*others, same, *([right] if answerable else [])]
    rng.shuffle(found)
    passages = tuple(Passage(f"p{number}", text) for number, text in enumerate(found, start=1))
    cited = next((passage.id for passage in passages if passage.text == right), "")
    return passages, question.format(place=places[0]), cited, (values if answerable else theirs)[key]


def _program(index: int, rng: random.Random) -> tuple[str, str, str]:
    """A request for a function, a program that serves it, and its tests; each number occurs once with a request."""
    asked, program, tests = texts.CODE[index % len(texts.CODE)]
    k = str(2 + 3 * (index // len(texts.CODE)) + rng.randrange(3))
    return asked.replace("{k}", k), program.replace("{k}", k), tests.replace("{k}", k)


def _code(index: int, rng: random.Random) -> Task:
    asked, program, tests = _program(index, rng)
    turn = Turn(asked, End("code", tests=tests, gold=program))
    return _task("code", index, [turn], _maybe_tools(rng), rng)


def _call_then_code(index: int, rng: random.Random) -> Task:
    one = need(_picked(index, 23), rng)
    asked, program, tests = _program(index + 3, rng)
    text = f"{one.asked} Then {asked[:1].lower()}{asked[1:]}"
    turn = Turn(text, End("code", ((one.call,),), tests=tests, gold=program))
    return _task("call_then_code", index, [turn], _listed([one.call["name"]], rng, most=2), rng)


_MAKERS: dict[str, Callable[[int, random.Random], Task]] = {
    "single": _single,
    "sequence": _sequence,
    "dependent": _dependent,
    "parallel": _parallel,
    "follow_up": _follow_up,
    "ask": _ask,
    "irrelevant": _irrelevant,
    "unsafe": _unsafe,
    "benign": _benign,
    "passages": _passages,
    "unanswerable": _unanswerable,
    "code": _code,
    "call_then_code": _call_then_code,
    "chat": _chat,
}
