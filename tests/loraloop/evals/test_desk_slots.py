"""Requests with slots: reproducible draws, held-out values and wordings, the oracle from any state, clear errors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.evals.desk.checks import fits
from loraloop.evals.desk.oracle import NextStep, accepts, check_draws, next_step, rehearse
from loraloop.evals.desk.request import DeskCall
from loraloop.evals.desk.selftest import problems
from loraloop.evals.desk.slots import DrawError, Slot, filled, references, side
from loraloop.evals.desk.toolbox import Toolbox
from loraloop.evals.desk.world import World, load_worlds, read_world
from loraloop.tool_schemas.errors import InputError

WORLDS = Path(__file__).parents[3] / "examples" / "improve_a_skill" / "worlds"
(BIKES,) = load_worlds(WORLDS)
seeds = st.integers(0, 10**6)
templates = st.sampled_from(BIKES.templates)

TOOLS = '''
"""A desk for tests."""
STATE = {}
def fresh():
    STATE.clear()
    STATE.update(rooms={"A1": {"beds": 2, "free": "yes"}, "B2": {"beds": 4, "free": "yes"}, "C3": {"beds": 1}})
    return STATE
def look_up(number: str): return {"number": number, **STATE["rooms"][number]}
def book(number: str, nights: int, note: str = ""): return {"ok": number}
def reads_first(slots, made):
    done = {call.name for call in made if not call.error}
    steps = [{"name": "look_up", "arguments": {"number": slots["room"]["key"]}}]
    return [step for step in steps if step["name"] not in done]
def some_room(rng, slots): return {"key": rng.choice(["A1"] * rng.randrange(2))}
TOOLS = [look_up, book]
'''
WORLD = """
instructions: You are the assistant of a hostel.
changes: [book]
slots:
  room: {state: rooms}
  nights: {number: [1, 9]}
requests:
- id: book
  kind: single
  say: ["Book {room.key} for {nights} nights.", "{nights} nights in {room.key}, please."]
  calls: [{name: book, arguments: {number: "{room.key}", nights: "{nights}"}}]
  says: ["{room.key}"]
  good: "{room.key} is booked."
"""


def lacking(tool: str, arguments: str) -> str:
    """A request that lacks values, in the place of ``good:``."""
    return f"asks: [when]\n  ask: {{name: {tool}, arguments: {{{arguments}}}}}\n  good:"


def made_world(folder: Path, text: str = WORLD, tools: str = TOOLS) -> World:
    folder.mkdir(exist_ok=True)
    (folder / "tools.py").write_text(tools)
    (folder / "world.yaml").write_text(text)
    return read_world(folder)


def made(world: World, turn: int = 0) -> list[DeskCall]:
    return [call for call in world.calls if call.turn == turn]


@given(templates, seeds, st.booleans())
@settings(max_examples=150, deadline=None)
def test_the_right_run_of_every_draw_passes_the_worlds_own_checks(template: Any, seed: int, held_out: bool) -> None:
    (request,) = BIKES.draw_of(template, 1, seed, held_out)
    assert rehearse(BIKES, request) == ""
    assert not any(re.search(r"\{\w", turn.say + turn.good) for turn in request.turns), "every reference is filled"


@given(templates, seeds)
@settings(max_examples=100, deadline=None)
def test_the_oracle_says_what_remains_from_every_state(template: Any, seed: int) -> None:
    (request,) = BIKES.draw_of(template, 1, seed)
    turn, world = request.turns[0], BIKES.fork()
    steps: list[NextStep] = []
    world.start(request)
    tools = {tool.__name__: tool for tool in world.tools}
    while (step := next_step(world, request, turn, made(world))) is not None and step.calls:
        at = list(made(world))
        for wrong in (DeskCall("bikes_at", {"station": "harbour"}, 0), DeskCall(step.calls[0].name, {}, 0, error="no")):
            assert next_step(world, request, turn, [*at, wrong]) == step, "a read or a failed call changes nothing"
            assert not accepts(world, step, [wrong])
        unasked = DeskCall("cancel_reservation", {"reservation": "V-0"}, 0)
        assert next_step(world, request, turn, [*at, unasked]) is None, "after an effect nobody asked for, nothing is"
        assert not accepts(world, step, []) and not accepts(world, step, [], ["day"])
        right = [DeskCall(c.name, {**world.defaults(c.name), **c.arguments}, 0) for c in step.calls]
        assert accepts(world, step, right) and accepts(world, step, right[:1]) and not accepts(world, step, right * 2)
        for call in step.calls:
            tools[call.name](**call.arguments)
        steps.append(step)
    assert sum(len(each.calls) for each in steps) == len(turn.calls)
    end = next_step(world, request, turn, made(world))
    assert end == NextStep(ask=turn.ask)
    assert accepts(world, end, [], end.missing) and accepts(world, end, []) is not bool(turn.ask)
    assert [call["arguments"] for call in end.completion] == ([dict(turn.ask.arguments)] if turn.ask else [])
    assert bool(end.missing) is bool(turn.ask) and not accepts(world, end, [], [*end.missing, "more"])
    if len(turn.calls) > 1 and template.kind == "two_step":
        assert len(steps) == 2, "the second call waits for the result of the first"


def test_draws_are_reproducible_different_and_split() -> None:
    learnt, held = BIKES.draw(80, seed=3), BIKES.draw(80, seed=3, held_out=True)
    assert learnt == BIKES.draw(80, seed=3) and len(learnt) == len(held) == 80
    assert learnt != BIKES.draw(80, seed=4)
    texts = [{turn.say for request in side for turn in request.turns} for side in (learnt, held)]
    assert not texts[0] & texts[1], "no wording with its values is on both sides"
    faults = [{r.slots["fault"] for r in side if "fault" in r.slots} for side in (learnt, held)]
    assert len(faults[0]) == 4 and len(faults[1]) == 2 and not faults[0] & faults[1]
    wordings = {"At which station is", "Where does bike"}
    assert all(any(word in r.turns[0].say for word in wordings) for r in learnt if r.id.startswith("station"))
    assert not any(any(word in r.turns[0].say for word in wordings) for r in held if r.id.startswith("station"))
    assert len({(r.id.split("~")[0], *(t.say for t in r.turns)) for r in learnt}) == 80


@given(st.lists(st.integers(), min_size=2, max_size=40, unique=True))
def test_both_sides_have_values_and_share_none(values: list[int]) -> None:
    learnt, held = side(values, False), side(values, True)
    assert learnt and held and not set(learnt) & set(held) and sorted(learnt + held) == sorted(values)


@given(st.text("ab{}#", max_size=12), st.integers())
def test_filling_replaces_references_and_keeps_types(text: str, value: int) -> None:
    scope = {"n": value, "r": {"x": [1.5, "two"]}}
    assert filled("{n}", scope) == value and filled("{r.x.1}", scope) == "two"
    assert filled("a {n} b {{n}}", scope) == f"a {value} b {{n}}"
    assert filled([{"k": "{r.x.0}"}], scope) == [{"k": 1.5}]
    plain = text.replace("{", "").replace("}", "")
    assert filled(plain, scope) == plain and not list(references(plain))
    for wrong in ("{m}", "{r.y}", "{r.x.7}", "is {r}"):
        with pytest.raises(DrawError):
            filled(wrong, scope)


def test_each_source_gives_its_values(tmp_path: Path) -> None:
    import random

    world = made_world(tmp_path)
    box: Toolbox = world.toolbox
    rng = random.Random(1)
    day = Slot(days=("2027-03-05", "2027-03-09"), workdays=True)
    assert {day.draw(rng, {}, box, False)["iso"] for _ in range(60)} == {"2027-03-05", "2027-03-08"}
    assert day.draw(rng, {}, box, True)["long"] == "9 March 2027"
    half = Slot(number=(1, 3), step=0.5)
    assert {half.draw(rng, {}, box, False) for _ in range(60)} == {1.0, 1.5, 2.5, 3.0}
    code = Slot(pattern="@@-##")
    both = [{code.draw(rng, {}, box, held) for _ in range(80)} for held in (False, True)]
    assert not both[0] & both[1] and all(re.fullmatch("[A-Z]{2}-[0-9]{2}", text) for text in both[0] | both[1])
    box.fresh()
    free = Slot(state="rooms", where={"beds": [2, 4]})
    assert {free.draw(rng, {}, box, False)["key"] for _ in range(60)} == {"A1", "B2"}
    other = Slot(state="rooms", differs_from="s")
    assert {other.draw(rng, {"s": {"key": "A1", "beds": 2, "free": "yes"}}, box, False)["key"] for _ in range(9)} == {
        "B2"
    }
    with pytest.raises(DrawError, match="no value for held-out"):
        free.draw(rng, {}, box, True)


def test_a_fork_has_a_state_of_its_own(tmp_path: Path) -> None:
    world = made_world(tmp_path)
    other = world.fork()
    world.start()
    other.start()
    world.module.STATE["rooms"].clear()
    assert other.module.STATE["rooms"] and not other.calls


def test_a_request_that_some_states_do_not_allow_is_drawn_from_the_others(tmp_path: Path) -> None:
    world = made_world(tmp_path / "hostel", WORLD.replace("{state: rooms}", "{function: some_room}"))
    for seed in range(6):
        drawn = world.draw(60, seed)
        assert 1 <= len(drawn) < 60 and {request.slots["room"]["key"] for request in drawn} == {"A1"}


def test_outcomes_are_played_on_the_state_that_their_request_was_drawn_on(tmp_path: Path) -> None:
    tools = TOOLS.replace("def fresh():", "def fresh(rng):").replace("TOOLS = [", "TOOLS = [leave, ")
    tools = re.sub(r"rooms=\{.*\}\)", 'rooms={f"R{rng.randrange(10**9)}": {} for _ in range(9)})', tools)
    tools = tools.replace(
        "def some_room", 'def leave(number: str): return {"left": STATE["rooms"][number]}\ndef some_room'
    )
    text = (
        WORLD.replace("changes: [book]", "changes: [book, leave]")
        + """
- id: leave
  kind: single
  say: ["I leave {room.key}.", "{room.key} is empty now."]
  calls: [{name: leave, arguments: {number: "{room.key}"}}]
  says: ["{room.key}"]
  good: "{room.key} is free."
"""
    )
    tried, found = problems(made_world(tmp_path, text, tools))
    assert tried and not [each for each in found if "the right" in each], found


def test_an_oracle_can_be_a_function(tmp_path: Path) -> None:
    told = WORLD.replace(
        'calls: [{name: book, arguments: {number: "{room.key}", nights: "{nights}"}}]',
        'calls: [{name: look_up, arguments: {number: "{room.key}"}}]\n  oracle: reads_first',
    )
    world = made_world(tmp_path, told)
    check_draws(world)
    (request,) = world.draw(1)
    key = request.slots["room"]["key"]
    step = next_step(world, request, request.turns[0], [])
    assert step is not None and step.completion == [{"name": "look_up", "arguments": {"number": key}}]
    assert next_step(world, request, request.turns[0], [DeskCall("look_up", {"number": key}, 0)]) == NextStep()
    arguments: dict[str, Any] = {"number": key, "nights": 2, "note": None}
    world.module.reads_first = lambda slots, made: [{"name": "book", "arguments": arguments}]
    step = next_step(world, request, request.turns[0], [])
    assert step is not None and step.ask is None and step.completion == [{"name": "book", "arguments": arguments}]
    arguments["nights"] = None
    step = next_step(world, request, request.turns[0], [])
    assert step is not None and step.ask is not None and not step.calls and step.missing == ("nights",)
    world.module.reads_first = lambda slots, made: "room"
    with pytest.raises(InputError, match=r"reads_first of .* returns 'room'"):
        next_step(world, request, request.turns[0], [])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "{room.key} for",
            "{rom.key} for",
            r"world.yaml:10: \{rom.key\}: no slot or call is called 'rom'; did you mean 'room'",
        ),
        ("name: book", "name: bok", r"world.yaml:11: no tool is called 'bok'; did you mean 'book'"),
        ('number: "', 'nummer: "', "world.yaml:11: no argument of book is called 'nummer'; did you mean 'number'"),
        ("says:", "sais:", r"world.yaml:12: unknown key .*did you mean 'says'"),
        ("{state: rooms}", "[one]", "world.yaml:5: slots.room: a slot has at least two values"),
        ("{state: rooms}", "{state: rooms, number: [1, 2]}", "world.yaml:5: .*one source of values"),
        ("{state: rooms}", "{state: halls}", "world.yaml:8: request 'book' cannot be drawn: .*no table halls"),
        ("{state: rooms}", "{function: pick}", "world.yaml:.*tools.py has no function pick"),
        ("changes: [book]", "changes: [buy]", "world.yaml:3: no tool is called 'buy'"),
        ("kind: single", "kind: singel", "world.yaml:9: .*no kind 'singel'"),
        ("kind: single", "kind: two_step", "world.yaml:11: the second call of two_step uses a result"),
        ("good:", "asks: [when]\n  good:", "world.yaml:13: give the call that lacks values with ask, null in their"),
        ("good:", lacking("buy", "number: A1, nights: null"), "world.yaml:14: no tool is called 'buy'"),
        ("good:", lacking("book", "nights: null"), "world.yaml:14: book requires number: give its value, or null"),
        ("good:", lacking("book", "number: A1, nights: 2"), "world.yaml:14: nothing is missing: put null"),
        (
            "good:",
            lacking("book", "number: A1, nights: null, note: null"),
            "world.yaml:14: .*required argument of book",
        ),
        ("good:", lacking("book", "number: null, nigths: 2, nights: 2"), "world.yaml:14: .*did you mean 'nights'"),
        ("good:", lacking("book", "number: '{rom.key}', nights: null"), "world.yaml:14: .*rom"),
        ("good:", "cites: rules\n  good:", "world.yaml:13: no document is called 'rules'"),
        ('"{nights}"}}', '"{nights}"}, free: [note]}', "world.yaml:11: the free argument note needs an example"),
        ("{room.key} is booked", "{room.color} is booked", r"cannot be drawn: \{room.color\} leads nowhere"),
        ('nights: "{nights}"', 'nights: "{room}"', "^$"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in WORLD
    if message == "^$":
        made_world(tmp_path, WORLD.replace(old, new))  # a record may be an argument
        return
    with pytest.raises(InputError, match=message):
        made_world(tmp_path, WORLD.replace(old, new, 1))


def test_a_request_with_slots_of_its_own_needs_two_wordings(tmp_path: Path) -> None:
    one = WORLD.replace("  kind: single", "  kind: single\n  slots: {when: [now, later]}")
    one = one.replace(', "{nights} nights in {room.key}, please."', "")
    with pytest.raises(InputError, match="needs at least two wordings"):
        made_world(tmp_path, one)


def test_a_right_run_that_the_checks_refuse_is_found(tmp_path: Path) -> None:
    world = made_world(tmp_path, WORLD.replace('good: "{room.key} is booked."', 'good: "It is booked."'))
    with pytest.raises(InputError, match=r"world.yaml:8: the right run of book~.* is judged wrong: does not say"):
        check_draws(world)


def test_a_plain_world_is_as_before(tmp_path: Path) -> None:
    plain = WORLD.split("slots:")[0] + (
        "requests: [{id: a, kind: code, say: Write it., program: \"assert f({'a': 1}) == {b}\", good: 'f'}]"
    )
    world = made_world(tmp_path, plain)
    assert not world.templates and world.requests[0].turns[0].program == "assert f({'a': 1}) == {b}"


def test_as_many_held_out_draws_as_are_wanted_are_measured() -> None:
    assert len(BIKES.requests) == len(BIKES.templates), "one draw of each where nothing is said"
    more = BIKES.with_draws(35, seed=2)
    assert list(more.requests) == BIKES.draw(35, seed=2, held_out=True) and len(BIKES.requests) == 10


def test_fits_takes_the_example_of_a_free_text() -> None:
    request = next(r for r in BIKES.draw(40) if r.id.startswith("bill"))
    wanted = request.turns[0].calls[1]
    assert fits(BIKES, wanted, DeskCall("message_rider", dict(wanted.arguments), 0))
    assert wanted.needs == (0,)
