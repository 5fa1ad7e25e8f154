"""The sealed worlds of the desk benchmark: right outcomes pass, outcomes that are wrong in one thing fail.

No test here runs a model on these worlds: they are opened once per release.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import zstandard

from loraloop.evals.bench import runs_program
from loraloop.evals.desk.facts import states
from loraloop.evals.desk.selftest import problems
from loraloop.evals.desk.world import SEALED, SHIPPED, World, load_worlds

RECIPES = Path(__file__).parents[2] / "recipes"
WORLDS = load_worlds(SEALED)
LEAST = {
    "two_step": 32, "missing": 22, "retrieval": 22, "benign": 16, "foreign": 16, "calendar": 14, "look": 8,
    "unanswered": 8, "single": 12, "indirect": 12, "parallel": 6, "no_tool": 6, "follow_up": 6, "code": 6, "unsafe": 6,
}  # fmt: skip
"""Least numbers of requests, by kind and tag, over the worlds."""


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_right_outcomes_pass_and_outcomes_wrong_in_one_thing_fail(world: World) -> None:
    tried, found = problems(world, runs_program)
    assert found == []
    assert tried >= 14 * len(world.requests)
    wanted = {call.name for request in world.requests for turn in request.turns for call in turn.calls}
    assert world.changes <= wanted, "each effect is asked for somewhere"


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
            assert turn.absent or turn.says, "an answer has to say that it is not there"
            assert not any(states(text, each) for text in texts.values() for fact in turn.says for each in fact)
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
    wordings = [turn.say.casefold() for world in WORLDS for request in world.requests for turn in request.turns]
    assert len(set(wordings)) == len(wordings)


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
            read |= {wording for key in ("messages", "question", "text") for wording in texts_of(row.get(key))}
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
