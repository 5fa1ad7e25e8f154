"""The worlds' checks: right outcomes pass, outcomes that are wrong in one thing fail, and loose checks are noticed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import zstandard

from loraloop.evals.bench import runs_program
from loraloop.evals.desk import checks
from loraloop.evals.desk.checks import DeskAnswer, judge
from loraloop.evals.desk.request import DeskRequest
from loraloop.evals.desk.selftest import problems, right_outcome, wrong_outcomes
from loraloop.evals.desk.world import SHIPPED, World, load_worlds

WORLDS = load_worlds(SHIPPED)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_right_outcomes_pass_and_wrong_ones_fail(world: World) -> None:
    tried, found = problems(world, runs_program)
    assert found == []
    assert tried >= 14 * len(world.requests), "about fifteen wrong outcomes a request"


@pytest.mark.parametrize("kind", ["single", "no_tool", "two_step"])
def test_a_world_of_one_request_needs_no_other_ones_calls(kind: str) -> None:
    world = WORLDS[0]
    alone = next(request for request in world.requests if request.kind == kind)
    tried, found = problems(replace(world, requests=(alone,)))
    assert tried and not found


def test_every_sort_of_wrong_outcome_is_tried() -> None:
    sorts: set[str] = set()
    for world in WORLDS:
        for request in world.requests:
            for outcome in wrong_outcomes(world, request, right_outcome(request), programs=True):
                sorts |= set(re.findall(r"[a-z]{4,}", outcome.wrong))
    wanted = "empty echo refused words without negates another nothing looping needless twice early with invented"
    assert set(wanted.split()) <= sorts


def loose_order(world: World, turn: Any, calls: Any, ordered: bool) -> str:
    return EFFECTS(world, turn, calls, False)


def loose_effects(world: World, turn: Any, calls: Any, ordered: bool) -> str:
    names = {wanted.name for wanted in turn.calls}
    return EFFECTS(world, turn, [call for call in calls if call.name in names], ordered)


def loose_question(turn: Any, answer: DeskAnswer) -> str:
    return ""


def loose_words(turn: Any, answer: DeskAnswer) -> str:
    return WORDS(replace(turn, says=(), names=()), answer)


def loose_citations(turn: Any, answer: DeskAnswer) -> str:
    return WORDS(replace(turn, cites=""), answer)


def loose_absence(world: World, turn: Any, answer: DeskAnswer) -> str:
    return ""


def loose_refusal(answer: DeskAnswer, calls: Any) -> str:
    return ""


def loose_fits(world: World, wanted: Any, call: Any) -> bool:
    return bool(wanted.name == call.name)


def loose_program(turn: Any, answer: DeskAnswer, runs: Any) -> str:
    return ""


def loose_repeats(text: str) -> bool:
    return False


EFFECTS, WORDS = checks._effects, checks._words


@pytest.mark.parametrize(
    ("name", "loose", "passes"),
    [
        ("_effects", loose_order, "too early"),
        ("_effects", loose_effects, "an effect nobody asked for"),
        ("_question", loose_question, "asks for nothing by name"),
        ("_words", loose_words, "without"),
        ("_words", loose_words, "negates"),
        ("_words", loose_citations, "cites"),
        ("_absence", loose_absence, "invented"),
        ("_refusal", loose_refusal, "helped"),
        ("fits", loose_fits, "with "),
        ("_program", loose_program, "no program"),
        ("_repeats", loose_repeats, "looping"),
    ],
    ids=lambda value: value.__name__ if callable(value) else value.strip(),
)
def test_a_loosened_check_is_noticed(
    monkeypatch: pytest.MonkeyPatch, name: str, loose: Callable[..., Any], passes: str
) -> None:
    (world,) = load_worlds(SHIPPED, ["library"])
    assert problems(world)[1] == []
    monkeypatch.setattr(checks, name, loose)
    found = problems(world)[1]
    assert any(passes in line for line in found), found[:3]


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("says", (), "passes though wrong: of no use"),
        ("good", "All is well.", "the right outcome fails"),
        ("asks", ("please",), "passes though wrong: asks for nothing by name"),
    ],
)
def test_a_loosened_request_is_noticed(field: str, value: Any, line: str) -> None:
    (world,) = load_worlds(SHIPPED, ["library"])
    at, request = next(
        (at, each)
        for at, each in enumerate(world.requests)
        if each.kind == ("missing" if field == "asks" else "single")
    )
    turn = replace(request.turns[0], **{field: value})
    loosened = replace(request, turns=(turn, *request.turns[1:]))
    world.requests = (*world.requests[:at], loosened, *world.requests[at + 1 :])
    found = problems(world)[1]
    assert any(request.id in each and line in each for each in found), found
    assert all(request.id in each for each in found)


def test_what_a_judge_raises_is_not_hidden() -> None:
    def broken(world: World, request: DeskRequest, answers: Sequence[DeskAnswer], runs: Any = None) -> str:
        raise RuntimeError("no judge")

    with pytest.raises(RuntimeError, match="no judge"):
        problems(WORLDS[0], judged=broken)
    assert problems(WORLDS[0], judged=judge)[1] == []


def test_no_tool_of_a_world_is_in_the_training_data() -> None:
    """Else the benchmark would ask for what was learnt by heart."""
    functions = [re.findall(r"^def ([a-z]\w+)", file.read_text(), re.MULTILINE) for file in SHIPPED.rglob("tools.py")]
    names = {bare(name): name for each in functions for name in each if name != "fresh"}
    assert len(names) >= 7 * len(WORLDS)
    found, known = [], set()
    for file in (SHIPPED.parent / "data").glob("*.zst"):
        with zstandard.open(file, "rt", encoding="utf-8") as lines:
            there = {bare(name) for name in re.findall(r'"name\\?": ?\\?"(\w+)', lines.read())}
        found += [f"{names[name]} in {file.name}" for name in sorted(names.keys() & there)]
        known |= there
    assert len(known) > 1000, "names of tools are found"
    assert found == []


def bare(name: str) -> str:
    """A tool's name in any spelling: `find_part`, `findPart`."""
    return name.replace("_", "").lower()
