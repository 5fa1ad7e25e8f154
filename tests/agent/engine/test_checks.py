"""Generation under checks: a value that fails is decoded again, in bounded tries, on the cache it would have had."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from loraloop.adapters.base import Base
from loraloop.agent.engine.constrained import Backtrack
from loraloop.agent.engine.generate import Delta, Generated, GenerateRequest, generate
from loraloop.agent.engine.sampler import Sampler, Sampling
from loraloop.agent.engine.trunk import Trunk
from loraloop.tool_schemas.grammar.compiler import GrammarCompiler
from loraloop.tool_schemas.grammar.grammar import JsonSchema
from loraloop.tool_schemas.schema.validation import check_value

SCHEMAS: list[dict[str, Any]] = [
    {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "uniqueItems": True, "minItems": 2},
    {"type": "integer", "minimum": 0, "maximum": 99, "not": {"multipleOf": 2}},
    {
        "type": "object",
        "properties": {
            "kind": {"enum": ["a", "b"]},
            "n": {"type": "integer", "minimum": 0, "maximum": 20, "not": {"enum": [3, 7]}},
        },
        "required": ["kind"],
        "if": {"properties": {"kind": {"const": "a"}}},
        "then": {"required": ["n"]},
        "else": {"not": {"required": ["n"]}},
    },
    {
        "type": "array",
        "items": {"type": "integer", "minimum": 0, "maximum": 5},
        "contains": {"const": 4},
        "maxItems": 4,
    },
]


@pytest.fixture(scope="module")
def compiler(small: Base) -> GrammarCompiler:
    return GrammarCompiler(small.vocabulary)


def run(base: Base, compiler: GrammarCompiler, schema: dict[str, Any], seed: int) -> tuple[Generated, list[Delta]]:
    trunk = Trunk(base)
    trunk.extend(base.chat.message("user", "go"))
    branch = trunk.branch()
    *pieces, out = generate(
        branch,
        GenerateRequest(
            invocation=base.chat.generation_prompt,
            sampler=Sampler(Sampling(temperature=1.0, seed=seed)),
            max_tokens=80,
            stop_ids=base.end_ids,
            constraint=compiler.compile(JsonSchema(schema, on_unsupported="check")).start(),
        ),
    )
    branch.close()
    return out, pieces


@pytest.mark.parametrize("schema", SCHEMAS, ids=["unique", "odd", "if", "contains"])
def test_what_is_decoded_passes_its_checks(small: Base, compiler: GrammarCompiler, schema: dict[str, Any]) -> None:
    retried = 0
    for seed in range(12):
        out, pieces = run(small, compiler, schema, seed)
        assert "".join(piece.text for piece in pieces) == out.text == small.tokenizer.decode(out.ids)
        assert out.whole
        check_value(json.loads(out.text), schema)
        retried += out.retried
        assert bool(out.problem) == bool(out.retried)
    assert retried > 0


def test_what_nothing_fits_is_given_up(small: Base, compiler: GrammarCompiler) -> None:
    schema = {"type": "string", "maxLength": 4, "not": {"type": "string"}}
    out, pieces = run(small, compiler, schema, 0)
    assert out.reason == "unenforced" and not out.whole
    assert not pieces and out.text == ""
    assert "$" in out.problem and out.retried > 1


def test_a_branch_goes_back_to_the_cache_it_had(small: Base) -> None:
    trunk = Trunk(small)
    trunk.extend(small.chat.message("user", "go"))
    branch = trunk.branch()
    branch.feed([5, 6, 7])
    branch.feed([8, 9])
    again = branch.logits_after([5, 6, 7, 8, 11])
    other = branch.logits_after([5, 4, 7, 8, 11])
    branch.close()
    fresh = trunk.branch()
    torch.testing.assert_close(other, fresh.feed([5, 4, 7, 8, 11]), atol=0.02, rtol=0.02)
    fresh.close()
    fresh = trunk.branch()
    expected = fresh.feed([5, 6, 7, 8, 11])
    fresh.close()
    torch.testing.assert_close(again, expected, atol=0.02, rtol=0.02)


def test_the_most_uncertain_token_of_the_value_is_chosen_again() -> None:
    choices = Backtrack()
    logits = torch.tensor([0.0, 3.0, 2.0, -9.0])
    choices.note(0, 1, torch.tensor([0.0, 1.0, 0.9, 0.0]))  # before the value
    choices.note(2, 1, logits)
    choices.note(3, 1, torch.tensor([0.0, 3.0, 2.9, 0.0]))
    assert choices.back_to(2, shown=0) == 3
    banned = torch.zeros(4)
    choices.ban_(3, banned)
    assert banned.tolist() == [0.0, float("-inf"), 0.0, 0.0]
    choices.note(3, 2, torch.tensor([0.0, float("-inf"), 2.9, float("-inf")]).masked_fill_(torch.eye(4)[0] > 0, -9.0))
    assert choices.back_to(2, shown=0) == 2  # the third has little else left
    after = torch.zeros(4)
    choices.ban_(3, after)
    assert not after.isinf().any()  # what precedes it has changed
    assert choices.back_to(5, shown=1) is None  # the first was shown already


def test_a_limit_before_any_end_that_passes_is_no_output(small: Base, compiler: GrammarCompiler) -> None:
    schema = {"type": "array", "items": {"type": "integer"}, "not": {"maxItems": 200}, "maxItems": 300}
    out, _ = run(small, compiler, schema, 0)
    assert out.reason == "unenforced" and not out.whole and out.text == ""
