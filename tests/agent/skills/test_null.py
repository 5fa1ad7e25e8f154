"""A skill that was trained to write null puts it where a value was not said, and only there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.skill.skill import Skill
from loraloop.adapters.training.data.readers import Reading, records_of
from loraloop.adapters.training.data.record import RecordPlace
from loraloop.adapters.training.improve.journal import Lines
from loraloop.adapters.training.recipe.recipe_file import read_recipe
from loraloop.adapters.training.recipe.run import prepare, train
from loraloop.agent import Agent, Limits, Policy, Runtime
from loraloop.agent.values.step import Step
from loraloop.evals.bench import measure
from loraloop.improve.measures import measure_records
from loraloop.testing import ScriptedRouter
from loraloop.tool_schemas import Tool

PROPERTIES = {"id": {"type": "integer", "minimum": 0, "maximum": 9}, "by": {"enum": ["mail", "post"]}}
SCHEMA = {"type": "object", "properties": PROPERTIES, "required": ["id", "by"]}
SEND = Tool("send", "Sends an order.", SCHEMA, lambda id, by: f"sent {id}")


def sentence(number: int | None, by: str | None) -> str:
    return f"Send {'it' if number is None else number}{'' if by is None else f' by {by}'}."


CASES = [(number, by) for number in (None, *range(5)) for by in (None, "mail", "post")]


ROWS: list[dict[str, Any]] = [
    {
        "messages": [{"role": "user", "content": sentence(number, by)}],
        "tools": [{"name": SEND.name, "description": SEND.description, "parameters": SCHEMA}],
        "calls": [{"name": "send", "arguments": {"id": number, "by": by}}],
    }
    for number, by in CASES
]


@pytest.fixture(scope="module")
def trained(tiny_base: Any, tmp_path_factory: pytest.TempPathFactory) -> Skill:
    folder = tmp_path_factory.mktemp("null")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    recipe = {
        "base": "tiny",
        "skill": {"name": "tools", "description": "Calls.", "contract": "calls"},
        "data": {"sources": [{"file": str(folder / "rows.jsonl"), "license": "CC0-1.0"}], "validation": 0.1},
        "method": {"name": "lora", "rank": 16, "alpha": 32},
        "schedule": {"steps": 150, "batch": 8, "learning_rate": 0.01},
        "output": {"folder": str(folder / "out")},
    }
    return train(prepare(read_recipe(recipe), tiny_base), "a test").skill


def steps_of(base: Any, skill: Skill, **options: Any) -> list[Step]:
    """The first step of each request."""
    bank = Bank(base)
    bank.add(skill)
    limits = Limits(max_steps=1, step_tokens=64)
    agent = Agent(Runtime(base, bank, ScriptedRouter([], ())), [SEND], policy=Policy(skills=("tools",)), limits=limits)
    return [agent.run_sync(sentence(number, by), **options).steps[0] for number, by in CASES]


def test_the_user_is_asked_for_what_was_not_said_and_for_nothing_else(tiny_base: Any, trained: Skill) -> None:
    assert trained.card.asks
    for (number, by), step in zip(CASES, steps_of(tiny_base, trained), strict=True):
        missing = tuple(name for name, value in (("id", number), ("by", by)) if value is None)
        assert (step.outcome, step.asked) == ("ask" if missing else "calls", missing), step.text
        (call,) = json.loads(step.text)
        assert tuple(name for name, value in call["arguments"].items() if value is None) == missing
        assert step.kept is not bool(missing) and len(step.calls) == (not missing)


@pytest.mark.parametrize("how", ["the skill has not learned it", "a call is required"])
def test_no_step_writes_null_where_it_may_not_ask(tiny_base: Any, trained: Skill, how: str) -> None:
    able = how == "a call is required"
    skill = Skill(trained.card.model_copy(update={"asks": able}), trained.tensors)
    for step in steps_of(tiny_base, skill, **({"tool_choice": "required"} if able else {})):
        assert step.outcome == "calls" and "null" not in step.text and not step.asked


def test_records_that_lack_values_are_measured_under_a_grammar_with_null(
    tiny_base: Any, trained: Skill, tmp_path: Path
) -> None:
    how = Reading("calls", header=tiny_base.prompting.tools_header)
    records = [each for line, row in enumerate(ROWS[:4]) for each in records_of(row, how, RecordPlace("rows", line))]
    assert all(record.gold["ask"] for record in records)
    found = measure(tiny_base, trained, records, max_tokens=64)
    assert len(found.samples) == 4
    for sample in found.samples:
        (wanted,), (wrote,) = json.loads(sample["wanted"]), json.loads(sample["skill"])
        assert [value is None for value in wrote["arguments"].values()] == [
            value is None for value in wanted["arguments"].values()
        ]
    right = measure_records(tiny_base, trained, records, Lines(tmp_path / "done.jsonl"), each=lambda: None)
    assert len(right) == 4 and any(right.values())
