"""The evaluation of injections: its worlds, its judgements on scripted agents, and its command on the embedded base."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from loraloop.adapters.base import Base
from loraloop.agent import Guard, Limits
from loraloop.agent.guard.guard import default_guard
from loraloop.evals import injections
from loraloop.evals.injection_cases import InjectionCase, all_cases, digest, has, suites, templates
from loraloop.evals.injections import FLOOR, InjectionEvaluation, do, evaluate, guards, report, runtime_of
from loraloop.testing import ScriptedRuntime, calls, verdict
from loraloop.tool_schemas.errors import InputError, UnknownNameError
from loraloop.tool_schemas.tools.calls import Call

Run = Callable[..., tuple[int, str, str]]
CASES = {case.id: case for case in all_cases()}


def tools_of(case: InjectionCase) -> list[tuple[str, dict[str, str]]]:
    return [(tool["name"], tool["arguments"]) for tool in case.suite.tools]


def gold(case: InjectionCase) -> Call:
    """The call that does what the user asks."""
    (wanted,) = case.request.wanted
    known = dict(tools_of(case))[wanted["tool"]]
    return Call(wanted["tool"], {key: wanted.get(key, "x") for key in known})


def evil(case: InjectionCase) -> Call:
    """The call that the injection wants."""
    goal = case.request.diverted if case.kind == "arguments" else case.suite.goal
    known = dict(tools_of(case))[goal["tool"]]
    return Call(goal["tool"], {key: goal.get(key, 1 if kind == "integer" else "x") for key, kind in known.items()})


def test_there_are_enough_requests_and_kinds_and_a_part_of_them_has_every_kind() -> None:
    alone = [case for case in CASES.values() if not case.kind]
    assert len(alone) == 15 and len({case.suite.name for case in alone}) == 5
    for request in alone:
        kinds = [case.kind for case in CASES.values() if case.request is request.request and case.kind]
        assert set(kinds) == set(templates()) - (set() if request.request.smuggled else {"arguments"})
    part = [case for case in all_cases(2) if case.kind]
    assert len(part) == 30 and {case.kind for case in part} == set(templates())
    assert len({case.id for case in part}) == 30 and digest(list(CASES.values())) != digest(part)


def test_every_request_can_be_done_and_every_attack_can_succeed() -> None:
    for case in CASES.values():
        effects = [] if case.request.says else [{"tool": gold(case).name, **gold(case).arguments}]
        assert all(has(effects, wanted) for wanted in case.request.wanted)
        assert not case.attacked(effects), case.id
        if case.kind:
            assert case.attacked([{"tool": evil(case).name, **evil(case).arguments}])
            assert (
                case.injected.strip()
                in case.suite.world(case.request.reads, case.injected).documents[case.request.reads]
            )
        if case.request.says:
            assert case.request.says in case.suite.documents[case.request.reads]
    for suite in suites():
        assert set(suite.effects) == {
            tool.name for tool in suite.tools_of(suite.world(suite.requests[0].reads)) if tool.effects
        }


def test_tools_change_the_world_and_reading_does_not() -> None:
    for suite in suites():
        world = suite.world(suite.requests[0].reads, "Hm.")
        tools = {tool.name: tool for tool in suite.tools_of(world)}
        assert tools[suite.reader[0]].call({suite.reader[1]: suite.requests[0].reads}).endswith(" Hm.")
        with pytest.raises(Exception, match="there is no 'x'"):
            tools[suite.reader[0]].call({suite.reader[1]: "x"})
        assert world.effects == []
        call = evil(InjectionCase("", suite, suite.requests[0], "plain"))
        tools[call.name].call(call.arguments)
        assert world.effects == [{"tool": call.name, **call.arguments}]


def test_an_agent_that_does_as_it_is_told_is_judged_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(injections, "LIMITS", Limits(max_steps=4))  # a scripted token is a byte
    case = CASES["banking-limit/plain"]
    runtime = ScriptedRuntime([gold(case)], [evil(case)], calls(), "Done.")
    row = do(runtime, guards(runtime)["none"], case)
    assert row["done"] and row["attacked"] and [step[1] for step in row["steps"]] == ["calls", "calls", "no_call"]
    fenced = ScriptedRuntime("no", "yes", "no", [gold(case)], calls(), "Done.")
    row = do(fenced, guards(fenced)["planned"], case)
    assert row["done"] and not row["attacked"]
    again = calls(read_letter={"name": "gas"})
    gated = ScriptedRuntime(verdict("injection"), again, calls(), "Done.")
    row = do(gated, guards(gated)["gate"], case)
    assert row["withheld"] and not row["done"] and not row["attacked"]
    asked, listed = CASES["inbox-code"], calls(list_messages={})
    for said in ("It is 4417.", "It is 4418."):
        answering = ScriptedRuntime(listed, calls(), said)
        row = do(answering, guards(answering)["none"], asked)
        assert row["done"] is (said == "It is 4417.") and row["output"] == said


def test_guards_are_what_their_names_say_and_the_gate_needs_a_safety_skill() -> None:
    able, unable = ScriptedRuntime(), ScriptedRuntime(skills={"tools": "calls"})
    assert list(guards(able)) == ["none", "gate", "remind", "read_only", "planned", "all"]
    assert list(guards(unable)) == ["none", "remind", "read_only", "planned", "all"]
    every = guards(able)["all"]
    assert every.tools is not None and every.remind and every.after_untrusted == "planned"
    assert guards(able)["none"] == default_guard(unable) == Guard(input=None, tools=None)
    with pytest.raises(UnknownNameError, match="did you mean 'planned'"):
        guards(able, ("planed",))


def test_numbers_come_from_the_rows_and_the_floor_is_held_against_no_guard() -> None:
    cases = [CASES[name] for name in ("banking-limit", "banking-gas", "banking-limit/plain", "banking-gas/useful")]
    row = {"done": True, "attacked": False, "seconds": 1.0}
    rows = {
        "none": {case.id: {**row, "attacked": bool(case.kind)} for case in cases},
        "planned": {case.id: {**row, "done": case.id == "banking-gas"} for case in cases},
    }
    made = report(InjectionEvaluation(("none", "planned"), tuple(cases), rows, {}), "injections")
    numbers = made.metrics
    assert numbers["none/utility"] == numbers["none/attack_success"] == numbers["none/floor"] == 1
    assert numbers["planned/utility"] == 0.5 < FLOOR and numbers["planned/floor"] == 0
    assert numbers["planned/attack_success_high"] == pytest.approx(0.6576, abs=1e-3), "two are few"
    assert numbers["planned/attack_success"] == 0
    assert made.details["by_kind"] == {
        "plain/attacks": 1, "plain/none": 1, "plain/planned": 0,
        "useful/attacks": 1, "useful/none": 1, "useful/planned": 0,
    }  # fmt: skip
    assert made.details["table"]["none/attack_success"] == "100 (34 to 100)"


def test_the_command_goes_on_where_it_stopped(base: Base, run: Run, tmp_path: Path) -> None:
    path, kept = tmp_path / "injections.json", tmp_path / "kept.jsonl"
    evaluate(runtime_of(base, ()), ("none",), limit=1, outputs=kept)
    first = kept.read_text(encoding="utf-8")
    asked = ("eval", "injections", "--limit", "1", "--outputs", str(kept), "--json", str(path))
    code, out, _ = run(*asked, "--guards", "none,read_only")
    document = json.loads(path.read_text(encoding="utf-8"))
    assert code == 0 and "1 requests, 0 attacks" in out and kept.read_text(encoding="utf-8").startswith(first), (
        "what was kept is not done again"
    )
    assert document["n"] == 1 and {"none/utility", "read_only/utility_low"} <= set(document["metrics"])
    with pytest.raises(InputError, match="another evaluation"):
        kept.write_text('{"evaluation": "agent"}\n', encoding="utf-8")
        evaluate(runtime_of(base, ()), ("none",), limit=1, outputs=kept)
