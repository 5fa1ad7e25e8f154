"""Worlds that training data is made of: their right runs pass their own checks, and what the maker writes is true."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loraloop.adapters.base.messages import Message
from loraloop.adapters.training.data.frozen import unfolded
from loraloop.agent.dates.notes import with_date_notes
from loraloop.agent.dates.resolve import stated_today
from loraloop.agent.grounding.grounding import sources_of, ungrounded
from loraloop.evals.desk.oracle import next_step, rehearse
from loraloop.evals.desk.request import DeskCall, DeskRequest, WantedCall
from loraloop.evals.desk.world import World, read_world
from loraloop.tool_schemas.tools.calls import Ask, Call, parse_step
from loraloop.tool_schemas.tools.tool import Tool

RECIPES = Path(__file__).parents[2] / "recipes"
WORLDS = sorted(path.parent for path in (RECIPES / "worlds").glob("*/world.yaml"))
BENCHMARK = sorted((RECIPES / "desk").glob("**/tools.py"))


@pytest.fixture(scope="module")
def worlds() -> dict[str, World]:
    return {folder.name: read_world(folder) for folder in WORLDS}


@pytest.mark.parametrize("name", [folder.name for folder in WORLDS])
def test_right_runs_pass_their_own_checks(worlds: dict[str, World], name: str) -> None:
    world = worlds[name].fork()
    wrong, runs = [], 0
    for template in world.templates:
        for held_out in (False, True):
            for request in world.draw_of(template, 2 - held_out, held_out=held_out):
                why = rehearse(world, request)
                wrong += [f"{request.id}: {why}: {[turn.say for turn in request.turns]}"] if why else []
                runs += 1
    assert not wrong
    assert runs >= 2.5 * len(world.templates) and len(world.templates) >= 14


def lacking_calls(world: World, request: DeskRequest) -> Iterator[tuple[WantedCall, list[Message]]]:
    """The calls of a right run that lack a value, each with the transcript before it."""
    world.start(request)
    today, functions = stated_today(world.instructions), {tool.__name__: tool for tool in world.tools}
    messages = [Message("system", world.instructions)]
    for world.turn, turn in enumerate(request.turns):
        messages = list(with_date_notes([*messages, Message("user", turn.say)], today))
        made: list[DeskCall] = []
        while (step := next_step(world, request, turn, made)) is not None and step.calls:
            messages.append(Message("assistant", json.dumps(step.completion, separators=(",", ":"))))
            for call in step.calls:
                result = functions[call.name](**call.arguments)
                messages.append(Message("tool", json.dumps({"name": call.name, "result": result})))
            made = [call for call in world.calls if call.turn == world.turn]
        if step is not None and step.ask:
            yield step.ask, messages
        messages = [*messages, Message("assistant", turn.good)]


@pytest.mark.parametrize("name", [folder.name for folder in WORLDS])
def test_a_call_that_lacks_values_holds_none_that_nobody_gave(worlds: dict[str, World], name: str) -> None:
    """Held against all values, as those of a tool with effects are."""
    world = worlds[name].fork()
    tools = {tool.__name__: Tool.from_function(tool) for tool in world.module.TOOLS}
    wrong, seen = [], 0
    for template in world.templates:
        for held_out in (False, True):
            for request in world.draw_of(template, 2, held_out=held_out):
                for call, messages in lacking_calls(world, request):
                    tool, arguments = tools[call.name], dict(call.arguments)
                    text = json.dumps([{"name": call.name, "arguments": arguments}])
                    nulls = tuple(name for name in tool.parameters["required"] if arguments.get(name, ...) is None)
                    assert parse_step(text, [tool]) == Ask(nulls)
                    given = Call(call.name, {name: value for name, value in arguments.items() if value is not None})
                    found = ungrounded(given, tool, sources_of(messages, world.instructions))
                    wrong += [f"{request.id}: {value} in {request.turns[-1].say!r}" for value in found]
                    seen += 1
    assert not wrong
    assert seen


def test_worlds_have_every_kind_of_request(worlds: dict[str, World]) -> None:
    for name, world in worlds.items():
        kinds = Counter(template.kind for template in world.templates)
        assert set(kinds) >= {"single", "two_step", "missing", "no_tool", "retrieval", "follow_up"}, name
        assert kinds["two_step"] >= 3, name
        assert all(template.varied for template in world.templates), name
        assert stated_today(world.instructions), name
        assert 6 <= len(world.module.TOOLS) <= 14, name


def test_worlds_share_no_tool_with_each_other_or_the_benchmark(worlds: dict[str, World]) -> None:
    names = Counter(tool.__name__ for world in worlds.values() for tool in world.module.TOOLS)
    assert BENCHMARK and not [name for name, count in names.items() if count > 1]
    benchmark = "\n".join(path.read_text(encoding="utf-8") for path in BENCHMARK)
    assert not [name for name in names if f"def {name}(" in benchmark]
    for world in worlds.values():
        for tool in world.module.TOOLS:
            parameters: Any = Tool.from_function(tool).parameters
            assert all(each.get("description") for each in parameters["properties"].values()), tool.__name__


Made = tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("worlds")
    chosen = folder / "chosen"
    chosen.mkdir()
    for each in WORLDS[:3]:
        (chosen / each.name).symlink_to(each)
    searched = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    command = [sys.executable, str(RECIPES / "make" / "worlds.py"), "--worlds", str(chosen), "--draws", "4"]
    command += ["--tools", str(folder / "tools"), "--answers", str(folder / "answers"), "--safe", str(folder / "safe")]
    command += ["--valid", WORLDS[2].name]
    subprocess.run(command, check=True, capture_output=True, timeout=120, env=searched)
    tools, answers, safe = (
        [row for line in (folder / n).read_text(encoding="utf-8").splitlines() for row in unfolded(json.loads(line))]
        for n in ("tools", "answers", "safe")
    )
    return tools, answers, safe


def test_made_calls_fit_the_tools_that_are_shown(made: Made) -> None:
    seen = Counter[str]()
    for row in made[0]:
        tools = {tool["name"]: tool["parameters"] for tool in row["tools"]}
        assert 1 <= len(tools) == len(row["tools"]) <= 30
        asks = False
        for call in row["calls"]:
            properties, required = tools[call["name"]]["properties"], set(tools[call["name"]]["required"])
            assert list(call["arguments"]) == [name for name in properties if name in call["arguments"]]
            assert required <= set(call["arguments"])
            missing = {name for name, value in call["arguments"].items() if value is None}
            assert missing <= required
            asks = asks or bool(missing)
        called = {call["name"] for call in row["calls"]}
        used = [Tool.from_schema(tool) for tool in row["tools"] if tool["name"] in called]
        wrote = parse_step(json.dumps(row["calls"]), used)
        assert isinstance(wrote, Ask) == asks
        seen["ask" if asks else "calls" if row["calls"] else "none"] += 1
    assert min(seen[kind] for kind in ("ask", "calls", "none")) > 20


def test_made_conversations_vary_in_turns_notes_names_and_tools(made: Made) -> None:
    turns = Counter(sum(each["role"] == "user" for each in row["messages"]) for row in made[0])
    assert turns[1] > 50 and turns[2] > 20 and turns[3]
    texts = [message["content"] for row in made[0] for message in row["messages"]]
    assert any(text.startswith("Dates: ") for text in texts) and any(
        text.startswith("Passages:\n[p1]") for text in texts
    )
    masked = [tool["name"][:3] in ("fn_", "op_") for row in made[0] for tool in row["tools"]]
    assert 0.05 < sum(masked) / len(masked) < 0.4
    assert any(row["kind"] == "none" and row["calls"] == [] for row in made[0])
    assert any("Nobody gave" in row.get("extra_prompt", "") for row in made[0])


def test_a_step_that_ends_a_run_after_results_is_a_kind_of_its_own(made: Made) -> None:
    ends = [row["kind"] == "stop" for row in made[0] if row["kind"] != "again"]
    after = [row["calls"] == [] and row["messages"][-1]["role"] == "tool" for row in made[0] if row["kind"] != "again"]
    assert ends == after and sum(ends) > 100


def test_a_detour_changes_nothing_that_is_right(made: Made) -> None:
    """After a wrong call stands what was right before it, and no wrong call is learnt."""
    after = [row for row in made[0] if row["kind"] == "detour"]
    before = {json.dumps([row["messages"], row["tools"]]): row["calls"] for row in made[0] if row["kind"] != "again"}
    found = Counter[str]()
    for row in after:
        *shown, call, result = row["messages"]
        assert (call["role"], result["role"]) == ("assistant", "tool")
        right = before.get(json.dumps([shown, row["tools"]]))
        found["first" if right == row["calls"] else "later"] += 1
        assert json.loads(call["content"])[0] not in row["calls"]
        content = json.loads(result["content"])
        failed = "error" in content or content["result"] == [] or "error" in content["result"]
        found["failed" if failed else "beside the point"] += 1
    assert found["first"] > 30 and found["later"] < 0.2 * len(after)
    assert found["failed"] > 2 * found["beside the point"] > 0


def test_conversations_share_an_assistant_by_eights(made: Made) -> None:
    assistants = Counter(json.dumps([row["messages"][0], row["tools"]]) for row in made[0])
    assert len(assistants) > 9 and len(made[0]) / len(assistants) > 8


def test_parts_share_no_tool_and_answers_close_turns(made: Made) -> None:
    described = {
        part: {tool["description"] for row in made[0] if row.get("part", "train") == part for tool in row["tools"]}
        for part in ("train", "valid")
    }
    assert described["train"] and described["valid"] and not described["train"] & described["valid"]
    assert {row.get("part", "train") for row in made[1]} == {"train", "valid"}
    assert all(row["completion"] and row["messages"][-1]["role"] in ("tool", "user") for row in made[1])
    assert {"done", "error", "ask", "empty"} <= {row["kind"] for row in made[1]}


def test_what_users_said_first_is_safe_and_stands_without_passages(made: Made) -> None:
    assert len(made[2]) > 20 and {row.get("part", "train") for row in made[2]} == {"train", "valid"}
    for row in made[2]:
        assert [each["role"] for each in row["messages"]] == ["system", "user"] and row["completion"] == "safe"
        assert not row["messages"][1]["content"].startswith("Passages:") and 0 < len(row["tools"]) <= 4
    requests = Counter(row["messages"][1]["content"] for row in made[2])
    known = {row["messages"][1]["content"] for row in made[0]}
    assert requests.keys() <= known
