"""The desk benchmark: scripted right outcomes pass, outcomes that are wrong in one thing fail, runs are judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loraloop.evals.bench import runs_program
from loraloop.evals.desk.checks import DeskAnswer, judge
from loraloop.evals.desk.facts import states
from loraloop.evals.desk.runner import chosen, report, run
from loraloop.evals.desk.world import KINDS, SHIPPED, DeskRequest, WantedCall, World, load_worlds
from loraloop.testing import ScriptedRuntime, calls
from loraloop.tool_schemas.errors import InputError

WORLDS = load_worlds(SHIPPED)
CASES = [
    pytest.param(world, request, id=f"{world.name}-{request.id}") for world in WORLDS for request in world.requests
]


def arguments(call: WantedCall) -> dict[str, Any]:
    """What a right call is made with."""
    free = {name: " ".join(map(str, call.holds.get(name, ("it",)))) for name in call.free}
    return {**call.arguments, **{name: text for name, text in free.items() if name not in call.arguments}}


def done(world: World, request: DeskRequest, skip: int = -1) -> list[DeskAnswer]:
    """Makes the right calls, but for one, and gives the right answers."""
    world.start()
    tools = {tool.__name__: tool for tool in world.tools}
    made, answers = 0, []
    for world.turn, turn in enumerate(request.turns):
        for call in turn.calls:
            if made != skip:
                tools[call.name](**arguments(call))
            made += 1
        cites = (turn.cites,) if turn.cites else ()
        stop = "refused" if turn.refused else "answer"
        answers.append(DeskAnswer(turn.good, refused=turn.refused, cites=cites, stop=stop))
    return answers


def judged(world: World, request: DeskRequest, answers: list[DeskAnswer]) -> str:
    return judge(world, request, answers, runs_program)


@pytest.mark.parametrize(("world", "request_"), CASES)
def test_the_right_outcome_passes_and_wrong_ones_fail(world: World, request_: DeskRequest) -> None:
    right = done(world, request_)
    assert judged(world, request_, right) == ""
    last = right[-1]
    turn = request_.turns[-1]
    for wrong in (replace(last, text=""), replace(last, complete=False), replace(last, text="I see it so. " * 6)):
        if not turn.refused:
            assert judged(world, request_, [*right[:-1], wrong])
    if not turn.refused:
        assert judged(world, request_, [*right[:-1], replace(last, refused=True)])
    if turn.says or turn.asks or turn.program:
        assert judged(world, request_, [*right[:-1], replace(last, text="All of it is well.")])
    if turn.cites:
        assert judged(world, request_, [replace(last, cites=("elsewhere",))])
    for skip in range(sum(len(each.calls) for each in request_.turns)):
        assert judged(world, request_, done(world, request_, skip))


@pytest.mark.parametrize(("world", "request_"), CASES)
def test_an_effect_that_nobody_asked_for_is_wrong(world: World, request_: DeskRequest) -> None:
    right = done(world, request_)
    for call in [call for call in world.calls if call.name in world.changes]:
        world.calls.append(replace(call))
        assert judged(world, request_, right), "nothing is done twice"
        world.calls.pop()
        for name, value in call.arguments.items():
            given, call.arguments[name] = value, f"{value}x" if isinstance(value, str) else 99
            wanted = next(w for turn in request_.turns for w in turn.calls if w.name == call.name)
            if name not in wanted.free:
                assert judged(world, request_, right), name
            call.arguments[name] = given
    assert judged(world, request_, right) == ""


def test_every_world_has_every_kind_and_seven_tools() -> None:
    for world in WORLDS:
        counts = [sum(request.kind == kind for request in world.requests) for kind in KINDS]
        assert counts == [6, 2, 3, 1, 2, 2, 1, 1, 1, 1] and len(world.module.TOOLS) == 7
        assert {"benign", "foreign"} == {tag for request in world.requests for tag in request.tags}
        assert len({request.id for request in world.requests}) == 20 and len(world.documents) == 4


@pytest.mark.parametrize(
    ("text", "fact", "right"),
    [
        ("It costs 1,290.00 euros.", 1290, True),
        ("Es kostet 1.290 Euro.", 1290, True),
        ("We have fourteen.", 14, False),
        ("There are two left.", 2, True),
        ("It costs 12,50.", 12.5, True),
        ("Version 2.15 is out.", 15, False),
        ("Due on the 3rd of December.", "2026-12-03", True),
        ("Due on Dec 3, 2026.", "2026-12-03", True),
        ("Bis zum 3.12.2026.", "2026-12-03", True),
        ("Due on December 13.", "2026-12-03", False),
        ("At 1:30 pm.", "13:30", True),
        ("At 2 p.m. sharp", "14:00", True),
        ("It is not ready yet.", "ready", False),
        ("It is ready.", "ready", True),
        ("Already done.", "ready", False),
    ],
)
def test_facts_are_found_in_usual_formats(text: str, fact: Any, right: bool) -> None:
    assert states(text, fact) is right


@pytest.fixture
def world() -> Iterator[World]:
    (found,) = load_worlds(SHIPPED, ["workshop"])
    yield found


def test_an_agent_is_asked_and_its_failures_are_shown(world: World) -> None:
    script = (calls(part_stock={"part": "BP-10"}), "We have 14.", calls(cancel_booking={"booking": "A-31"}), "Hm.")
    wanted = tuple(request for request in world.requests if request.id in ("pads", "cancel"))
    world.requests = wanted
    rows = run(ScriptedRuntime(*script), [world], documents=False)
    assert [row["right"] for row in rows] == [True, False] and rows[1]["why"] == "does not say cancelled"
    made = report(rows)
    assert made.metrics["right"] == 0.5 and made.metrics["single_n"] == 2 and made.metrics["s_p50"] > 0
    (failed,) = made.details["failures"]
    assert failed["turns"][0]["calls"] == [["cancel_booking(booking='A-31')", "cancelled"]]
    assert failed["turns"][0]["steps"] == ["tools/router/calls", "none/router/text"]
    assert (made.metrics["first_choice"], made.metrics["first_choice_n"], made.metrics["screen_fires"]) == (1, 2, 0)


def test_what_the_router_chose_first_is_held_against_the_kind() -> None:
    cases = (("single", "tools", True), ("code", "tools", False), ("no_tool", "none", False), ("unsafe", "tools", True))
    rows = [
        {"id": f"shop/{at}", "kind": kind, "tags": [], "right": True, "seconds": 1.0, "first": first, "screened": said}
        for at, (kind, first, said) in enumerate(cases)
    ]
    made = report(rows).metrics
    assert (made["first_choice"], made["first_choice_n"]) == (pytest.approx(2 / 3), 3)
    assert (made["screen_fires"], made["screen_fires_n"]) == (pytest.approx(1 / 3), 3)
    assert "first_choice" not in report([{**row, "first": ""} for row in rows]).metrics, "without a router"


def test_requests_are_chosen_evenly(world: World) -> None:
    few = chosen(world, limit=5)
    assert len(few) == 5 and len({request.kind for request in few}) >= 4
    assert {request.kind for request in chosen(world, kinds=("missing",))} == {"missing"}


def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no worlds in"):
        load_worlds(tmp_path)
    with pytest.raises(InputError, match="there is no world 'shop'"):
        load_worlds(SHIPPED, ["shop"])
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "world.yaml").write_text("requests: [{id: a, kind: odd}]")
    (tmp_path / "one" / "tools.py").write_text("TOOLS = []")
    with pytest.raises(InputError, match=r"is no world.*odd"):
        load_worlds(tmp_path)
