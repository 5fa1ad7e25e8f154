"""Records of the states that runs reach: what right runs wrote, and what is right where the others broke."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.skill.skill import Skill
from loraloop.adapters.training.data.checker import Checker
from loraloop.adapters.training.data.encode import encode
from loraloop.adapters.training.data.readers import Reading, read_file
from loraloop.evals.desk.oracle import NextStep, next_step
from loraloop.evals.desk.request import DeskRequest
from loraloop.evals.desk.runner import agent_of, ask_results
from loraloop.evals.desk.world import World, load_worlds
from loraloop.improve.agents import WorldRun, ask_all, requests_of
from loraloop.improve.records import RecordFile
from loraloop.improve.states import CORRECTED, NOT_ASKED, RIGHT, State, states_of
from loraloop.testing import ScriptedRuntime, calls, text
from loraloop.tool_schemas.jsontext import dumps

WORLDS = Path(__file__).parents[3] / "examples" / "improve_a_skill" / "worlds"
(BIKES,) = load_worlds(WORLDS)
CALLING = [template for template in BIKES.templates if template.kind != "retrieval"]
ASKS = [template for template in CALLING if template.kind == "missing"]


def runtime(*steps: Any) -> ScriptedRuntime:
    """A scripted runtime whose tools skill may ask."""
    made = ScriptedRuntime(*steps)
    plain = Skill(made.bank.card("tools"), made.bank._entries["tools"].source.tensors)  # type: ignore[union-attr]
    made.bank.remove("tools")
    made.bank.add(Skill(plain.card.model_copy(update={"asks": True}), plain.tensors))
    return made


def steps_of(world: World, request: DeskRequest) -> list[list[NextStep]]:
    """The oracle's steps of each turn, to the end."""
    own, found = world.fork(), []
    own.start(request)
    tools = {tool.__name__: tool for tool in own.tools}
    for own.turn, turn in enumerate(request.turns):
        listed = []
        while True:
            step = next_step(own, request, turn, [call for call in own.calls if call.turn == own.turn])
            assert step is not None
            listed.append(step)
            if not step.calls:
                break
            for call in step.calls:
                tools[call.name](**call.arguments)
        found.append(listed)
    return found


def written(step: NextStep) -> Any:
    return text(dumps(step.completion), "tools")


def script(world: World, request: DeskRequest) -> list[Any]:
    """What a right run writes: a tools skill that can ask is asked before anybody answers."""
    found: list[Any] = []
    for turn, listed in zip(request.turns, steps_of(world, request), strict=True):
        found += [*map(written, listed), turn.good]
    return found


def run(request: DeskRequest, *steps: Any, asks: bool = True) -> tuple[WorldRun, list[State]]:
    made = runtime(*steps) if asks else ScriptedRuntime(*steps)
    world = BIKES.fork()
    agent = agent_of(made, world, documents=False)
    row, results = ask_results(agent, world, request)
    shown = [{"name": t.name, "description": t.description, "parameters": t.parameters} for t in agent.tools]
    return WorldRun(row), states_of(world, request, results, shown, made.contract, row["right"])


@given(st.sampled_from(CALLING), st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_a_right_run_gives_what_it_wrote(template: Any, seed: int) -> None:
    (request,) = BIKES.draw_of(template, 1, seed)
    asked, states = run(request, *script(BIKES, request))
    assert asked.right, asked.row["why"]
    completions = [step.completion for listed in steps_of(BIKES, request) for step in listed]
    assert [state.record["calls"] for state in states if state.contract == "calls"] == completions
    assert {state.why for state in states} == {RIGHT}
    texts = [state.record["completion"] for state in states if state.contract == "text"]
    assert texts == [turn.good for turn in request.turns]


@given(st.sampled_from([t for t in CALLING if t.kind != "no_tool"]), st.integers(0, 10**6), st.data())
@settings(max_examples=20, deadline=None)
def test_a_run_that_breaks_at_a_step_gets_that_steps_correction(template: Any, seed: int, data: Any) -> None:
    (request,) = BIKES.draw_of(template, 1, seed)
    listed = steps_of(BIKES, request)[0]
    broken = data.draw(st.integers(0, len(listed) - 1))
    right, wanted = [written(step) for step in listed[:broken]], listed[broken]
    reads = calls(("bikes_at", {"station": "park"}))
    for wrong in (reads, calls(("cancel_reservation", {"reservation": "V-1"})), calls()):
        if not wanted.calls and not wanted.ask and wrong.text == "[]":
            continue  # this is right at the end
        ended = ["Hm."] if wrong.text == "[]" else [calls(), "Hm."]
        asked, states = run(request, *right, wrong, *ended)
        found = [state for state in states if state.contract == "calls"]
        assert [state.why for state in found[: broken + 1]] == [RIGHT] * broken + [CORRECTED]
        assert found[broken].record["calls"] == wanted.completion
        assert [state.record["calls"] for state in found[:broken]] == [step.completion for step in listed[:broken]]
        assert not asked.right or not wanted.calls, "a read too many at the end is no error"


def test_nothing_is_learnt_behind_an_effect_that_nobody_asked_for() -> None:
    request = next(r for r in BIKES.draw(40) if r.id.startswith("station"))
    bike = request.slots["bike"]["key"]
    unasked = calls(("report_fault", {"bike": bike, "fault": "the chain is off"}))
    _, states = run(request, unasked, calls(("bike_details", {"bike": bike})), calls(), "Hm.")
    assert [(state.why, len(state.record["calls"])) for state in states] == [(CORRECTED, 1)]


def test_a_run_that_never_asked_the_skill_shows_what_was_right() -> None:
    request = next(r for r in BIKES.draw(40) if r.id.startswith("station"))
    _, states = run(request, "I do not know.", asks=False)
    (state,) = [state for state in states if state.contract == "calls"]
    assert state.why == NOT_ASKED and state.record["calls"][0]["name"] == "bike_details"
    assert not [state for state in states if state.contract == "text"], "the results for a right answer are not there"


def test_a_later_turn_teaches_nothing_where_the_first_did_not_happen() -> None:
    request = next(r for r in BIKES.draw(40) if r.kind == "follow_up")
    second = steps_of(BIKES, request)[1]
    _, states = run(request, calls(), "Hm.", *map(written, second), request.turns[1].good)
    assert [state.why for state in states] == [CORRECTED], "only the first turn's step"
    _, states = run(request, *script(BIKES, request))
    assert len(states) == 6 and states[-1].record["messages"][-1]["role"] == "tool"


def test_a_step_that_was_written_again_has_what_it_saw() -> None:
    request = next(r for r in BIKES.draw(40) if r.id.startswith("station"))
    right, end = map(written, steps_of(BIKES, request)[0])
    broken = text('[{"name":"bike_details","arguments":{"bike":7}}]', "tools", enforced=False)
    made = runtime(broken, right, end, request.turns[0].good)
    world = BIKES.fork()
    agent = agent_of(made, world, documents=False)
    row, results = ask_results(agent, world, request)
    assert row["right"], row["why"]
    states = [s for s in states_of(world, request, results, [], made.contract, True) if s.contract == "calls"]
    assert [state.why for state in states] == [CORRECTED, RIGHT, RIGHT]
    extra = [state.record.get("extra_prompt", "") for state in states]
    assert extra[0] == extra[2] == "" and extra[1].startswith("That is not valid: ")
    assert extra[1] in made.turns[1].extra_prompt, "word for word as the step saw it"


def test_the_words_of_a_wrong_answer_are_corrected() -> None:
    request = next(r for r in BIKES.draw(40) if r.id.startswith("station"))
    listed = steps_of(BIKES, request)[0]
    asked, states = run(request, *map(written, listed), "It is somewhere.")
    assert not asked.right
    (state,) = [state for state in states if state.contract == "text"]
    assert (state.why, state.record["completion"]) == (CORRECTED, request.turns[0].good)


def test_records_are_the_trunks_that_the_runs_had_and_are_written_once(tmp_path: Path) -> None:
    requests = requests_of([BIKES], 9, seed=1)
    assert len(requests) == 9 and requests == requests_of([BIKES], 9, seed=1)
    made = runtime(*(each for _, request in requests for each in script(BIKES, request)))
    file = RecordFile(tmp_path / "runs.jsonl", "calls")
    runs = ask_all(made, requests, documents=False, together=1, each=lambda run: file.add(run.states))
    assert all(run.right for run in runs if run.row["kind"] != "retrieval") and file.counts[RIGHT] > 9
    for run_ in runs:
        file.add(run_.states)  # the same once more
    lines = file.path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(set(lines)) == sum(file.counts.values())
    how = Reading("calls", source="runs", header=made.base.prompting.tools_header)
    checker = Checker(10**6)
    records = checker.check(read_file(file.path, how))
    assert len(records) == len(lines) and not [f for f in checker.findings if f.severity == "error"]
    wrote = {(tuple(made.base.chat.render(turn.messages)), turn.text) for turn in made.turns if turn.skill == "tools"}
    assert {(encode(made.base, each.messages, each.completion).trunk, each.completion) for each in records} == wrote
