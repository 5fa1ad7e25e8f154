"""Generation: the promise to close, forced tokens, stop conditions, sampling and text pieces."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import jsonschema
import pytest
import torch

from loraloop.adapters.base import Base
from loraloop.adapters.skill.contracts import code_grammar, code_of
from loraloop.agent.engine.cache.sequence import RequestContext
from loraloop.agent.engine.generate import Delta, Generated, GenerateRequest, generate
from loraloop.agent.engine.sampler import Sampler, Sampling
from loraloop.agent.engine.stops import Detokenizer
from loraloop.agent.engine.trunk import Trunk
from loraloop.tool_schemas.errors import InputError, LimitError
from loraloop.tool_schemas.grammar.compiler import GrammarCompiler
from loraloop.tool_schemas.grammar.grammar import JsonSchema, Lark

SCHEMA: dict[str, Any] = {
    "type": "array",
    "maxItems": 6,
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "size": {"type": "integer"},
            "tags": {"type": "array", "items": {"enum": ["red", "green"]}},
            "inner": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]},
        },
        "required": ["name", "size", "inner"],
        "additionalProperties": False,
    },
}


@pytest.fixture(scope="module")
def compiler(small: Base) -> GrammarCompiler:
    return GrammarCompiler(small.vocabulary)


def run(
    base: Base, tokens: int, term: Any = None, compiler: Any = None, **options: Any
) -> tuple[Generated, list[Delta]]:
    trunk = Trunk(base)
    trunk.extend(base.chat.message("user", "go"))
    branch = trunk.branch()
    sampling = options.pop("sampling", Sampling(temperature=1.0, seed=options.pop("seed", 0)))
    *pieces, out = generate(
        branch,
        GenerateRequest(
            invocation=options.pop("invocation", base.chat.generation_prompt),
            sampler=Sampler(sampling),
            max_tokens=tokens,
            stop_ids=base.end_ids,
            constraint=compiler.compile(term).start() if term is not None else None,
            **options,
        ),
    )
    branch.close()
    assert "".join(piece.text for piece in pieces) == out.text
    return out, pieces


@pytest.mark.parametrize("tokens", [2, 40, 60, 90, 150, 300])
def test_json_is_complete_within_any_limit(small: Base, compiler: GrammarCompiler, tokens: int) -> None:
    for seed in range(5):
        out, _ = run(small, tokens, JsonSchema(SCHEMA), compiler, seed=seed)
        assert len(out.ids) <= tokens
        jsonschema.validate(json.loads(out.text), SCHEMA)
        assert out.text == small.tokenizer.decode(out.ids)
        assert out.reason in ("stop", "done", "tokens")


@pytest.mark.parametrize("tokens", [20, 50, 120])
def test_code_is_one_block_within_its_limit(small: Base, compiler: GrammarCompiler, tokens: int) -> None:
    for seed in range(3):
        out, _ = run(small, tokens, Lark(code_grammar()), compiler, seed=seed)
        assert len(out.ids) <= tokens
        assert code_of(out.text)


def test_a_limit_below_the_shortest_output_is_an_error_with_a_number(small: Base, compiler: GrammarCompiler) -> None:
    with pytest.raises(LimitError, match=r"needs at least \d+ tokens, but the step may use 5"):
        run(small, 5, JsonSchema({**SCHEMA, "minItems": 1}), compiler)


def test_forced_tokens_go_with_the_last_sampled_one(small: Base, compiler: GrammarCompiler) -> None:
    schema = {
        "type": "object",
        "properties": {"a_rather_long_name": {"enum": ["yes", "no"]}},
        "required": ["a_rather_long_name"],
        "additionalProperties": False,
    }
    out, _ = run(small, 100, JsonSchema(schema), compiler)
    assert out.sampled == 1  # only the first letter of the value was open
    assert out.forced == len(out.ids) - 1
    (start, end), (rest, last) = out.spans
    assert out.text[start:end] == '{"a_rather_long_name":"' and (end, last) == (rest - 1, len(out.text))


def test_the_forced_stretches_of_the_pieces_are_those_of_the_text(small: Base, compiler: GrammarCompiler) -> None:
    for seed in range(4):
        out, pieces = run(small, 90, JsonSchema(SCHEMA), compiler, seed=seed)
        at, places = 0, set()
        for piece in pieces:
            assert all(0 <= start < end <= len(piece.text) for start, end in piece.spans)
            places |= {at + place for start, end in piece.spans for place in range(start, end)}
            at += len(piece.text)
        assert places == {place for start, end in out.spans for place in range(start, end)}
        assert all(before[1] < after[0] for before, after in itertools.pairwise(out.spans))
        assert out.forced <= len(out.ids) and bool(out.spans) == bool(out.forced)


def test_text_of_a_constrained_branch_is_never_taken_back(small: Base, compiler: GrammarCompiler) -> None:
    for seed in range(8):
        out, pieces = run(small, 64, JsonSchema(SCHEMA), compiler, seed=seed)
        assert sum(piece.tokens for piece in pieces) <= len(out.ids)


def test_a_deadline_still_closes(small: Base, compiler: GrammarCompiler) -> None:
    bounds = RequestContext(deadline=time.monotonic() - 1)
    out, _ = run(small, 300, JsonSchema({**SCHEMA, "minItems": 1}), compiler, bounds=bounds)
    assert out.reason == "deadline" and out.sampled == 0
    jsonschema.validate(json.loads(out.text), SCHEMA)


def test_cancelling_ends_free_text(small: Base) -> None:
    asked = iter([False, False, False, True])
    out, _ = run(small, 100, bounds=RequestContext(cancelled=lambda: next(asked)))
    assert out.reason == "cancelled" and len(out.ids) == 3


def test_seeds_repeat_and_greedy_needs_none(small: Base) -> None:
    assert run(small, 20, seed=4)[0].ids == run(small, 20, seed=4)[0].ids
    assert run(small, 20, seed=4)[0].ids != run(small, 20, seed=5)[0].ids
    greedy = Sampling()
    assert run(small, 20, sampling=greedy)[0].ids == run(small, 20, sampling=greedy)[0].ids
    with pytest.raises(InputError, match=r"2\*\*64"):
        Sampling(temperature=1.0, seed=2**64)


def test_the_coldest_sampling_takes_the_likeliest() -> None:
    logits = torch.tensor([1.0, 30.0, -torch.inf, 29.0])
    assert {Sampler(Sampling(temperature=5e-324, top_p=top)).pick(logits) for top in (1.0, 0.5, 5e-324)} == {1}


def test_a_temperature_above_what_logits_can_be_divided_by_draws_all_that_may_be_drawn_alike() -> None:
    sampler = Sampler(Sampling(temperature=1e300, seed=0))
    assert {sampler.pick(torch.tensor([0.0, float("-inf"), 9.0])) for _ in range(40)} == {0, 2}


def test_a_stop_string_ends_text_and_ids(small: Base) -> None:
    free, _ = run(small, 40, seed=1)
    middle = free.text[5:7]
    out, _ = run(small, 40, seed=1, stops=[middle])
    assert out.reason == "stop" and out.text == free.text[: free.text.index(middle)]
    assert small.tokenizer.decode(out.ids) == out.text or "\ufffd" in out.text


def test_tokens_that_must_not_come_first(small: Base) -> None:
    first = run(small, 1, sampling=Sampling())[0].ids[0]
    out, _ = run(small, 1, sampling=Sampling(), not_first=torch.tensor([first]))
    assert out.ids[0] != first


def test_a_turn_that_would_begin_with_them_is_started_otherwise(small: Base) -> None:
    """Just as if it had been started so at first; one that would not begin with them is left as it is."""
    greedy, prompt = Sampling(), small.chat.generation_prompt
    other = [*prompt[:1], *small.tokenizer.encode("In words: "), *prompt]
    plain, _ = run(small, 8, sampling=greedy)
    banned = torch.tensor([plain.ids[0]])
    kept, _ = run(small, 8, sampling=greedy, not_first=banned + 1, other_invocation=other)
    assert kept.ids == plain.ids
    out, _ = run(small, 8, sampling=greedy, not_first=banned, other_invocation=other)
    expected, _ = run(small, 8, sampling=greedy, not_first=banned, invocation=other)
    assert out.ids == expected.ids != run(small, 8, sampling=greedy, not_first=banned)[0].ids


@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.9])
def test_top_p_keeps_the_smallest_set_that_reaches_it(top_p: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(3000) * 0.5
    sampler = Sampler(Sampling(temperature=1.0, top_p=top_p, seed=0))
    order = logits.softmax(-1).sort(descending=True)
    before = order.values.cumsum(0) - order.values
    allowed = set(order.indices[before < top_p].tolist())
    drawn = {sampler.pick(logits) for _ in range(400)}
    assert drawn <= allowed and len(drawn) > min(len(allowed), 400) // 4


def test_min_p_is_relative_to_the_most_probable() -> None:
    logits = torch.log(torch.tensor([0.6, 0.3, 0.06, 0.04]))
    sampler = Sampler(Sampling(temperature=1.0, min_p=0.2, seed=0))
    assert {sampler.pick(logits) for _ in range(200)} == {0, 1}


@pytest.mark.parametrize("wrong", [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.5}, {"min_p": 1}])
def test_sampling_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="use"):
        Sampling(**wrong)


def test_pieces_are_whole_characters() -> None:
    raw = "aé€😀".encode()
    stream = Detokenizer(lambda token: bytes([raw[token]]))
    pieces = [stream.push([i]) for i in range(len(raw))]
    assert [piece for piece in pieces if piece] == ["a", "é", "€", "😀"]
    assert stream.finish() == ""
    stream = Detokenizer(lambda token: bytes([raw[token]]))
    forced = [True, *[False] * 5, *[True] * 4]
    assert stream.push(range(4), forced[:4]) == "aé" and stream.push(range(4, 10), forced[4:]) == "€😀"
    assert stream.spans == [(0, 1), (3, 4)] and stream.spans_since(2) == ((1, 2),)


def test_a_possible_stop_string_is_held_back() -> None:
    text = "one ENnot END two"
    stream = Detokenizer(lambda token: text[token].encode(), stops=["END"])
    pieces = [stream.push([i]) for i in range(len(text))]
    assert stream.stopped and "".join(pieces) == "one ENnot " and stream.finish() == ""


@pytest.mark.parametrize("period", [1, 7, 24, 64])
def test_free_text_that_says_the_same_over_and_over_ends_with_a_reason_of_its_own(small: Base, period: int) -> None:
    class Loops(Sampler):
        def pick(self, logits: torch.Tensor) -> int:
            super().pick(logits)
            self.count = getattr(self, "count", 7) + 1
            return 10 + self.count if self.count < 20 else 40 + self.count % period

    trunk = Trunk(small)
    trunk.extend([5, 6])
    request = GenerateRequest(invocation=[7], sampler=Loops(Sampling()), max_tokens=600, stop_ids=frozenset())
    *_, last = generate(trunk.branch(), request)
    assert isinstance(last, Generated) and last.reason == "repetition" and not last.whole
    assert len(last.ids) <= 12 + max(96, 4 * period) + 16


def test_what_repeats_itself_a_few_times_is_no_repetition() -> None:
    from loraloop.agent.engine.stops import repeats

    row = list(range(32))
    assert not repeats([*range(100, 196), *row * 2]) and not repeats([*range(500)][:496]) and not repeats([3] * 80)
    assert repeats([3] * 96) and repeats([*range(100, 132), *row * 4])
