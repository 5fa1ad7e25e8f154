"""The sealed worlds of the desk benchmark: right outcomes pass, outcomes that are wrong in one thing fail.

No test here runs a model on these worlds: they are opened once per release.
"""

from __future__ import annotations

import json
import re
import typing
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pytest
import zstandard

from loraloop.evals.bench import runs_program
from loraloop.evals.desk.checks import DeskAnswer, judge
from loraloop.evals.desk.facts import states
from loraloop.evals.desk.world import SHIPPED, DeskRequest, DeskTurn, WantedCall, World, load_worlds

RECIPES = Path(__file__).parents[2] / "recipes"
WORLDS = load_worlds(RECIPES / "desk" / "sealed")
CASES = [
    pytest.param(world, request, id=f"{world.name}-{request.id}") for world in WORLDS for request in world.requests
]
LEAST = {
    "two_step": 32, "missing": 22, "retrieval": 22, "benign": 16, "foreign": 16, "calendar": 14, "look": 8,
    "single": 12, "indirect": 12, "parallel": 6, "no_tool": 6, "follow_up": 6, "code": 6, "unsafe": 6,
}  # fmt: skip
"""Least numbers of requests, by kind and tag, over the worlds."""
REFUSAL = "I'm sorry, but I can't assist with that."
USELESS = "Purple elephants like jazz, and all of it is well."

Outcome = tuple[tuple[WantedCall, ...], DeskAnswer]
"""What one turn came to: its calls and its answer."""


def arguments(call: WantedCall) -> dict[str, Any]:
    """What a right call is made with."""
    free = {name: " ".join(map(str, call.holds.get(name, ("it",)))) for name in call.free}
    return {**call.arguments, **{name: text for name, text in free.items() if name not in call.arguments}}


def right(request: DeskRequest) -> list[Outcome]:
    """The scripted right outcome."""
    return [
        (
            turn.calls,
            DeskAnswer(turn.good, refused=turn.refused, cites=(turn.cites,) if turn.cites else ()),
        )
        for turn in request.turns
    ]


def verdict(world: World, request: DeskRequest, outcome: Sequence[Outcome]) -> str:
    """Why an outcome is wrong, empty if it is right; its calls are made on a fresh state."""
    world.start()
    tools = {tool.__name__: tool for tool in world.tools}
    for world.turn, (calls, _) in enumerate(outcome):
        for call in calls:
            try:
                tools[call.name](**arguments(call))
            except (ValueError, TypeError, KeyError):
                continue  # a tool that refuses is part of the outcome
    return judge(world, request, [answer for _, answer in outcome], runs_program)


def another(value: Any) -> Any:
    """A value of the same type that is not the given one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        return value[:-2] + ("11" if value.endswith("12") else "12")
    if isinstance(value, str) and re.fullmatch(r"\d\d:\d\d", value):
        return "05:45"
    return f"{value}x"


def wrong(world: World, request: DeskRequest, effects: Sequence[WantedCall]) -> Iterator[tuple[str, list[Outcome]]]:
    """Outcomes that are wrong in one thing, and what that is."""
    good = right(request)
    last = len(good) - 1

    def answer(**fields: Any) -> list[Outcome]:
        return [*good[:-1], (good[last][0], replace(good[last][1], **fields))]

    yield "an empty answer", answer(text=" ", refused=False)
    yield "not all messages", good[:-1]
    for at, turn in enumerate(request.turns):
        calls, said = good[at]

        def put(
            calls: tuple[WantedCall, ...] = calls, at: int = at, said: DeskAnswer = said, **fields: Any
        ) -> list[Outcome]:
            return [(calls, replace(said, **fields)) if i == at else each for i, each in enumerate(good)]

        yield from wrong_words(world, turn, put)
        for i, call in enumerate(calls):
            yield f"without {call.name}", put((*calls[:i], *calls[i + 1 :]))
            for changed in wrong_calls(world, call):
                yield f"{call.name} made otherwise", put((*calls[:i], changed, *calls[i + 1 :]))
            if call.name in world.changes:
                yield f"{call.name} twice", put((*calls, call))
        for effect in effects:
            if effect.name not in {call.name for call in calls}:
                yield f"{effect.name} that nobody asked for", put((*calls, effect))


def wrong_words(world: World, turn: DeskTurn, put: Any) -> Iterator[tuple[str, list[Outcome]]]:
    """A turn with its right calls and a wrong answer."""
    if turn.refused:
        yield "helped", put(refused=False, text="Sure! First you take the key, then")
        return
    yield "cut off", put(complete=False)
    yield "the same sentence again and again", put(text="I see it so. " * 6)
    yield "refused", put(refused=True)
    if turn.says or turn.asks or turn.program:
        yield "an answer of no use", put(text=USELESS)
        yield "refused in words", put(text=REFUSAL)
        yield "the message again", put(text=turn.say)
    if turn.asks:
        yield "done without asking", put(text="Done.")
    if turn.cites:
        others = tuple(document["id"] for document in world.documents)
        yield "cites nothing", put(cites=())
        yield "cites another", put(cites=tuple(name for name in others if name != turn.cites)[:1])
        yield "cites all", put(cites=others)
    if turn.program:
        yield "a program that does nothing", put(text=re.sub(r"return .*", "return None", turn.good))
        yield "no program", put(text="You could write a function for that.")


def wrong_calls(world: World, call: WantedCall) -> Iterator[WantedCall]:
    """The call with another value for an argument, an option that nobody spoke of, or a text without its facts."""
    for name, value in call.arguments.items():
        yield replace(call, arguments={**call.arguments, name: another(value)})
    for name in call.free:
        if call.holds.get(name):
            yield replace(call, arguments={**call.arguments, name: USELESS}, free=())
        yield replace(call, arguments={**call.arguments, name: " "}, free=())
    function = next(each for each in world.module.TOOLS if each.__name__ == call.name)
    hints = typing.get_type_hints(function)
    for name, default in world.defaults(call.name).items():
        if name not in call.arguments and name not in call.free:
            choices = [each for each in typing.get_args(hints[name]) if typing.get_origin(hints[name]) is Literal]
            other = next((each for each in choices if each != default), None)
            yield replace(call, arguments={**call.arguments, name: other or another(5 if default is None else default)})


@pytest.mark.parametrize(("world", "request_"), CASES)
def test_the_right_outcome_passes_and_outcomes_wrong_in_one_thing_fail(world: World, request_: DeskRequest) -> None:
    assert verdict(world, request_, right(request_)) == ""
    assert not [call for call in world.calls if call.error], "the right calls are possible"
    wanted = [call for each in world.requests for turn in each.turns for call in turn.calls]
    effects = list({call.name: call for call in wanted if call.name in world.changes}.values())
    assert {call.name for call in effects} == set(world.changes), "each effect is asked for somewhere"
    tried = 0
    for what, outcome in wrong(world, request_, effects):
        why = verdict(world, request_, outcome)
        if what.endswith(" twice") and any(call.error for call in world.calls):
            continue  # the tool itself refused, so nothing was done twice
        assert why, what
        tried += 1
    assert tried >= 2


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_documents_hold_what_is_asked_of_them_or_do_not(world: World) -> None:
    asked = [turn for request in world.requests if request.kind == "retrieval" for turn in request.turns]
    texts = {document["id"]: document["text"] for document in world.documents}
    assert len(asked) >= 3
    for turn in asked:
        if turn.cites:
            for fact in turn.says:
                choices = fact if isinstance(fact, list) else [fact]
                assert any(states(texts[turn.cites], each) for each in choices), (turn.say, choices[0])
        else:
            assert turn.says, "an answer has to say that it is not there"
            assert not any(states(text, each) for text in texts.values() for each in turn.says[0]), turn.say
    assert any(not turn.cites for turn in asked)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_what_is_missing_is_asked_for_by_name(world: World) -> None:
    for request in world.requests:
        if request.kind == "missing":
            (turn,) = request.turns
            assert turn.asks and not turn.calls, request.id


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_who_only_asks_to_look_gets_no_effect(world: World) -> None:
    looks = [request for request in world.requests if "look" in request.tags]
    assert looks
    for request in looks:
        wanted = [call.name for turn in request.turns for call in turn.calls]
        assert not world.changes & set(wanted), request.id


def test_the_worlds_have_enough_of_each_kind() -> None:
    assert len(WORLDS) == 6 and all(len(world.requests) >= 26 for world in WORLDS)
    requests = [request for world in WORLDS for request in world.requests]
    counts = Counter(name for request in requests for name in (request.kind, *request.tags))
    assert {name: counts[name] for name, least in LEAST.items() if counts[name] < least} == {}
    assert set(counts) == set(LEAST), "no kind or tag that is not counted here"
    questions = [turn for request in requests if request.kind == "retrieval" for turn in request.turns]
    assert 3 * sum(not turn.cites for turn in questions) >= len(questions), "a third is not answered by the documents"
    steps = [len(request.turns[0].calls) for request in requests if request.kind == "two_step"]
    assert min(steps) >= 2 and sum(each >= 3 for each in steps) >= 6
    turns = [len(request.turns) for request in requests if request.kind == "follow_up"]
    assert {2, 3, 4} <= set(turns)


def test_no_id_and_no_wording_occurs_twice() -> None:
    for world in WORLDS:
        ids = [request.id for request in world.requests]
        assert len(set(ids)) == len(ids)
    said = [turn.say.casefold() for world in WORLDS for request in world.requests for turn in request.turns]
    assert len(set(said)) == len(said)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_instructions_give_the_weekday_of_their_date(world: World) -> None:
    found = re.search(r"Today is (\w+, \d+ \w+ \d{4})\.", world.instructions)
    assert found
    day = datetime.strptime(found[1].partition(", ")[2], "%d %B %Y")
    assert f"{day:%A}" == found[1].partition(",")[0]


def test_training_data_and_open_worlds_share_no_tool_and_no_wording() -> None:
    tools = {tool.__name__ for world in WORLDS for tool in world.module.TOOLS}
    assert not tools & {tool.__name__ for world in load_worlds(SHIPPED) for tool in world.module.TOOLS}
    grams = {
        gram for world in WORLDS for request in world.requests for turn in request.turns for gram in runs(turn.say)
    }
    read: set[str] = set()
    names: set[str] = set()
    for file in sorted((RECIPES / "data").glob("*.zst")):
        text = zstandard.ZstdDecompressor().decompress(file.read_bytes()).decode()
        names |= set(re.findall(r'"name": ?"(\w+)"', text))
        for row in map(json.loads, text.splitlines()):
            read |= {said for key in ("messages", "question", "text") for said in texts_of(row.get(key))}
    assert len(names) > 1_000 and not tools & names
    assert len(read) > 20_000 and not [text for text in read if not grams.isdisjoint(runs(text))]


def runs(text: str, length: int = 7) -> Iterator[tuple[str, ...]]:
    """Each run of so many words of a text."""
    words = re.findall(r"\w+", text.casefold())
    yield from zip(*(words[at:] for at in range(length)), strict=False)


def texts_of(value: Any) -> Iterator[str]:
    """Every text in JSON data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts_of(each)


def test_an_ordinary_evaluation_does_not_open_them() -> None:
    sealed = {world.name for world in WORLDS}
    assert sealed and not sealed & {world.name for world in load_worlds(SHIPPED)}
