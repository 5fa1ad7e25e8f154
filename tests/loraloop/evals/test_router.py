"""`eval router`: figures from what was said, resumed outputs, a file of one's own."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from typer.testing import CliRunner

from loraloop.adapters.base import Base
from loraloop.cli.main import app
from loraloop.evals.harness import OutputCache
from loraloop.evals.router import (
    RouterEvaluation,
    RouterOutput,
    ask_router,
    facts_of,
    identity,
    median,
    sample,
    scores,
    states_of,
    timed,
)
from loraloop.router import Router
from loraloop.router.states import LabelledState, assistant_states, file_states
from loraloop.tool_schemas.errors import InputError

WEATHER = {
    "name": "get_weather",
    "description": "Current weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
ROWS = (
    *(
        {
            "messages": [{"role": "user", "content": f"What is the weather in {c}?"}],
            "tools": [WEATHER],
            "route": "tools",
        }
        for c in ("Oslo", "Rome", "Lima")
    ),
    *(
        {"messages": [{"role": "user", "content": f"Tell me a joke about {w}."}], "route": "none"}
        for w in ("cats", "tea")
    ),
    {"messages": [{"role": "user", "content": "Write a Python function that adds two numbers."}], "route": "code"},
)


@pytest.fixture()
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


def outputs_of(states: list[LabelledState], wrong: int = 0) -> list[RouterOutput]:
    """What is right, but for the first few."""
    found = []
    for k, s in enumerate(states):
        skill = str(s.label) if k >= wrong else "none" if s.label != "none" else "code"
        found.append(RouterOutput(skill, {skill: 0.9, "other": 0.1}, False))
    return found


def test_a_perfect_router_scores_one_and_its_interval_holds_it(file: Path) -> None:
    states = file_states(file)
    right = scores(states, outputs_of(states))
    assert right["macro_f1"] == right["macro_f1_low"] == right["macro_f1_high"] == right["accuracy"] == 1
    assert right["ece"] == pytest.approx(0.1)
    wrong = scores(states, outputs_of(states, 2))
    assert wrong["macro_f1_low"] <= wrong["macro_f1"] < 1 and wrong["accuracy"] == pytest.approx(4 / 6)
    assert wrong["tools.recall"] == pytest.approx(1 / 3) and wrong["tools_present.n"] == 3


def test_what_needs_a_call_is_counted_where_the_router_tells(file: Path) -> None:
    states = file_states(file)
    assert "call.recall" not in scores(states, outputs_of(states))
    told = [
        replace(output, call=call)
        for output, call in zip(outputs_of(states), (0.9, 0.5, 0.2, 0.7, None, 0.9), strict=True)
    ]
    found = scores(states, told)  # three that need a call, two jokes, one program
    assert found["call.recall"] == pytest.approx(2 / 3) and found["call.false_positives"] == 1


def test_f1_follows_its_definition(file: Path) -> None:
    states = file_states(file)
    found = scores(states, outputs_of(states, 1))
    tools, none = 2 * 2 / (3 + 2), 2 * 2 / (2 + 3)
    assert found["macro_f1"] == pytest.approx((tools + none + 1) / 3)


def test_medians_come_with_an_interval() -> None:
    found = median("ms", [random.Random(1).random() for _ in range(50)])
    assert found["ms_low"] <= found["ms"] <= found["ms_high"]


def test_states_are_read_by_form_and_unknown_ones_refused(tmp_path: Path, file: Path) -> None:
    states = file_states(file)
    assert [s.label for s in states] == [row["route"] for row in ROWS]
    assert states[0].state.tools and "get_weather" in states[0].messages[0].content and not states[3].state.tools
    general = tmp_path / "talk.jsonl"
    general.write_text('{"a": 1}\n', encoding="utf-8")
    with pytest.raises(InputError, match="a record needs messages, and a route"):
        file_states(general)
    general.write_text('{"messages": [], "route": "fly"}\n', encoding="utf-8")
    with pytest.raises(InputError, match="route among none, tools"):
        file_states(general)
    with pytest.raises(InputError, match="cannot read"):
        file_states(tmp_path / "absent.jsonl")


def test_assistants_left_for_validation_are_measured_beside_the_public_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loraloop.router.states.frozen_states", lambda part, data, header: [])
    found, left = states_of(tmp_path, 5, 0), {identity(state) for state in assistant_states("valid")}
    assert {split: len(states) for split, states in found.items()} == {"assistants": 5, "eval": 0, "cross": 0}
    assert all(identity(state) in left for state in found["assistants"])


def test_what_was_said_is_kept_and_not_asked_again(file: Path, base: Base, tmp_path: Path) -> None:
    router, outputs = Router.load(), tmp_path / "outputs.jsonl"
    first = RouterEvaluation({"mine": file_states(file)})
    ask_router(first, base, router, OutputCache(outputs, {}), lambda: None)
    answers = first.outputs["mine"]
    assert sum(a.skill == s.label for a, s in zip(answers, first.states["mine"], strict=True)) >= 5
    again, steps = RouterEvaluation({"mine": file_states(file)}), []
    ask_router(again, base, router, OutputCache(outputs, {}), lambda: steps.append(1))
    assert not steps and again.outputs == first.outputs
    timed(again, router, base, rounds=5)
    report = again.report("router")
    assert {"macro_f1", "macro_f1_low", "ece", "ms", "tools_present.macro_f1"} <= set(report.metrics)


def test_what_a_router_said_at_other_thresholds_is_not_taken_for_its_own(base: Base, tmp_path: Path) -> None:
    other = Router.load()
    other.with_threshold(screen=0.9).save(tmp_path / "other")
    assert facts_of(base, tmp_path / "other", 0) != facts_of(base, None, 0)
    card = SimpleNamespace(name="qwen2.5-coder-1.5b", fingerprints=base.fingerprints)
    assert facts_of(cast(Base, card), None, 0) != facts_of(base, None, 0), "each base has its own router"


def test_samples_keep_the_order(file: Path) -> None:
    states = file_states(file)
    assert sample(states, None, 0) == states and sample(states, 3, 0) == [
        s for s in states if s in sample(states, 3, 0)
    ]
    assert len({identity(s) for s in states}) == len(states)


def test_the_command_writes_a_result_and_errors(file: Path, base: Base, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text(file.read_text() + json.dumps({**ROWS[-1], "route": "none"}) + "\n", encoding="utf-8")
    out = tmp_path / "router.json"
    done = CliRunner().invoke(app, ["eval", "router", "--data", str(wrong), "--json", str(out), "--show-errors", "3"])
    assert done.exit_code == 0, done.output
    assert json.loads(out.read_text())["n"] == 7 and "wanted: none" in done.output


def test_the_routers_card_is_shown() -> None:
    done = CliRunner().invoke(app, ["skills", "show", "router", "--json"])
    card = json.loads(done.output)
    assert card["outcomes"][0] == "none" and card["bytes"] < 3_000_000
    assert {"data", "scores", "limits", "command"} <= set(card)
