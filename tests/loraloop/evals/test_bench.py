"""Base against skill under each contract's grammar: what is written is measured by the contract's own rule."""

from __future__ import annotations

from typing import Any

import pytest

from loraloop.adapters.base import Base, Message
from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.skill.blank import blank_skill
from loraloop.adapters.skill.contracts import Passage, code_text
from loraloop.adapters.skill.skill import Skill
from loraloop.adapters.training.data.example import transcript
from loraloop.adapters.training.data.record import Record, RecordPlace
from loraloop.adapters.training.scoring.score import MAIN, score
from loraloop.evals.bench import Bench, measure
from loraloop.tool_schemas.errors import InputError
from loraloop.tool_schemas.grammar.grammar import Lark

TOOL = {
    "name": "f",
    "description": "",
    "parameters": {"type": "object", "properties": {"x": {"type": "boolean"}}, "required": ["x"]},
}
CALL = '[{"name":"f","arguments":{"x":true}}]'
ANSWER = '{"answerable":true,"citations":["p"],"answer":"Ada"}'
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "calls": (CALL, {"tools": (TOOL,), "gold": {"calls": [{"name": "f", "arguments": {"x": True}}]}}),
    "answer": (
        ANSWER,
        {
            "passages": (Passage("p", "Ada did."),),
            "gold": {"answerable": True, "citations": ["p"], "answers": ["Ada"]},
        },
    ),
    "verdict": ('{"verdict":"safe"}', {"gold": {"unsafe": False, "category": ""}}),
    "agreement": ('{"verdict":"agrees"}', {"gold": {"contradicts": False}}),
    "code": (code_text("x = 1"), {"gold": {"tests": "assert x == 1"}}),
    "text": ('{"queue":"a"}', {}),
}
SCHEMA = {
    "type": "object",
    "properties": {"queue": {"enum": ["a", "b"]}},
    "required": ["queue"],
    "additionalProperties": False,
}


def record(contract: str) -> Record:
    completion, parts = CASES[contract]
    messages = transcript([Message("user", "Do it.")], "", parts.get("tools", ()))
    return Record(messages, completion, contract, RecordPlace("a.jsonl", 1), **parts)


@pytest.mark.parametrize("contract", MAIN)
def test_a_right_output_scores_one_and_a_wrong_one_nothing(contract: str) -> None:
    made = record(contract)
    right = score(contract, [made], [made.completion], lambda program: "x = 1" in program)
    wrong = score(contract, [made], ["nonsense"], lambda program: "x = 1" in program)
    assert right[MAIN[contract]] == 1 and wrong[MAIN[contract]] == 0 and right[f"{MAIN[contract]}_n"] == 1


@pytest.mark.parametrize("contract", MAIN)
def test_an_output_belongs_to_each_record(contract: str) -> None:
    for records, outputs in (([], []), ([record(contract)], ["a", "b"])):
        with pytest.raises(InputError, match="one output"):
            score(contract, records, outputs)


@pytest.mark.parametrize("contract", ["calls", "answer", "verdict", "text"])
def test_every_system_writes_under_the_grammar(tiny_base: Base, contract: str) -> None:
    schema = SCHEMA if contract == "text" else None
    skill = blank_skill(tiny_base, "blank", contract)
    steps: list[int] = []
    found = measure(
        tiny_base,
        skill,
        [record(contract)],
        schema=schema,
        instruction="Do.",
        max_tokens=400,
        each=lambda: steps.append(1),
    )
    systems = ["base", "base_told", "skill", *(["skill_free"] if contract == "text" else [])]
    assert list(found.scores) == systems and found.main == MAIN[contract] and found.n == len(steps) == 1
    (sample,) = found.samples
    assert sample["place"] == "a.jsonl:1" and sample["base"] == sample["skill"], "a blank skill is the base"
    if contract == "text":
        assert found.scores["skill"]["valid"] == 1 and sample["skill"] in ('{"queue":"a"}', '{"queue":"b"}')
    elif contract == "calls":
        assert sample["skill"].startswith("[")


def test_few_labels_are_chosen_among(tiny_base: Base) -> None:
    made = Record((Message("user", "Warm?"),), "yes", "text", RecordPlace("a", 1))
    skill = blank_skill(tiny_base, "blank", "text")
    found = measure(tiny_base, skill, [made], labels=["yes", "no"] * 8, max_tokens=8)
    assert found.samples[0]["base"] in ("yes", "no") and "skill_free" in found.scores
    free = measure(tiny_base, skill, [made], labels=[str(k) for k in range(9)], max_tokens=4)
    assert set(free.scores) == {"base", "skill"}, "many different texts are no labels"


def test_a_step_of_which_nothing_passed_its_check_is_an_empty_one(tiny_base: Base) -> None:
    """There is one program that parses, and this base writes others until its tries are spent."""
    program = Lark('start: "```python\\n" ("x = 1" | /[a-w] [a-z][a-z]/) "\\n```"', python=True)
    step = Bench(tiny_base, None, 22).write([Message("user", "Do it.")], program, skilled=False)
    assert step.text == "" and step.fits


def test_a_skill_whose_modules_have_ranks_of_their_own_is_measured(tiny_base: Base) -> None:
    method = Lora(rank=4, alpha=4.0, targets=("q_proj", "o_proj"), rank_pattern={"q_proj": 20})
    made = blank_skill(tiny_base, "blank")
    options = {"rank": 4, "alpha": 4.0, "targets": method.targets, "options": {"rank_pattern": {"q_proj": 20}}}
    wide = Skill(made.card.model_copy(update=options), method.init(MethodContext(tiny_base.config)))
    assert Bench(tiny_base, wide, 4).write([Message("user", "Hi")], None).fits
