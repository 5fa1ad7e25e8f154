"""Beam search: what it finds is the likeliest text, and all else is as without it."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base
from loraloop.adapters.skill.card import Card
from loraloop.adapters.skill.skill import Skill
from loraloop.agent import Agent, Guard, Limits, Policy, Runtime
from loraloop.agent.engine import Budget, Generated, Sampler, Sampling, Trunk, generate
from loraloop.agent.engine.beam import Found, likeliest
from loraloop.agent.engine.ledger import Author
from loraloop.agent.engine.two_way_choice import Balance
from loraloop.evals.beams import Width, choose, store
from loraloop.testing import ScriptedRouter
from loraloop.tool_schemas.errors import InputError, SkillError
from loraloop.tool_schemas.grammar.grammar import Choice, GrammarCompiler, JsonSchema
from loraloop.tool_schemas.tools.tool import Tool

TEXTS = ("red", "rose", "rosette", "blue", "black", "blackbird", "green", "grey", "a", "abacus")
RECORDS: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "maxItems": 3,
    "items": {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "size": {"type": "integer"}},
        "required": ["name", "size"],
        "additionalProperties": False,
    },
}


@pytest.fixture(scope="module")
def base(either: Base) -> Base:
    return either


@pytest.fixture(scope="module")
def compiler(base: Base) -> GrammarCompiler:
    return GrammarCompiler(base.tokenizer.json, base.config.vocab_size, base.chat.closing[0])


def asked(base: Base, said: str) -> Trunk:
    trunk = Trunk(base)
    trunk.extend(base.chat.message("user", said))
    return trunk


def search(*asked: Any) -> Found | None:
    return next(iter(likeliest(*asked)), None)


def likelihoods(
    base: Base, compiler: GrammarCompiler, trunk: Trunk, texts: tuple[str, ...]
) -> dict[str, tuple[float, float]]:
    """Log-probability of each text over what the grammar allows, and the entropy on its way, by walking every way."""
    total = dict.fromkeys(texts, (float("-inf"), 0.0))

    def end(ids: list[int], score: float, entropy: float) -> None:
        text = base.tokenizer.decode(ids)
        total[text] = max(total[text], (score, entropy))

    def walk(ids: list[int], score: float, entropy: float) -> None:
        state, branch = compiler.compile(Choice(texts)).start(), trunk.branch()
        state.accept(ids)
        logits = branch.feed([*base.chat.generation_prompt, *ids])
        branch.close()
        if state.done:
            end(ids, score, entropy)
            return
        state.mask_(logits)
        entropy += float(torch.distributions.Categorical(logits=logits[logits.isfinite()]).entropy())
        for token in logits.isfinite().nonzero().flatten().tolist():
            each = score + float(logits.log_softmax(-1)[token])
            if token in base.end_ids:
                end(ids, each, entropy)
            else:
                walk([*ids, token], each, entropy)

    walk([], 0.0, 0.0)
    return total


@pytest.mark.parametrize("said", ["go", "which colour?", "what grows there"])
def test_wide_enough_it_finds_the_likeliest_of_all_texts(base: Base, compiler: GrammarCompiler, said: str) -> None:
    trunk, texts = asked(base, said), TEXTS[:5]
    scores = likelihoods(base, compiler, trunk, texts)
    branch = trunk.branch()
    found = search(
        branch, base.chat.generation_prompt, compiler.compile(Choice(texts)).start(), 64, Budget(20), base.end_ids
    )
    branch.close()
    assert found is not None
    text = base.tokenizer.decode(found.ids)
    assert text == max(scores, key=lambda each: scores[each])
    assert (found.log_probability, found.entropy) == pytest.approx(scores[text], abs=2e-3)


def test_with_one_hypothesis_it_is_greedy_and_leaves_the_branch_as_it_was(
    base: Base, compiler: GrammarCompiler
) -> None:
    trunk, grammar = asked(base, "go"), compiler.compile(JsonSchema(RECORDS))
    branch = trunk.branch()
    found = search(branch, base.chat.generation_prompt, grammar.start(), 1, Budget(200), base.end_ids)
    assert branch.ids == [] and branch.computed.length == len(trunk.ids)
    *_, greedy = generate(
        branch,
        base.chat.generation_prompt,
        Sampler(Sampling()),
        Budget(200),
        stop_ids=base.end_ids,
        constraint=grammar.start(),
    )
    branch.close()
    assert found is not None and isinstance(greedy, Generated)
    assert (found.ids, found.forced) == (greedy.ids, greedy.forced)
    assert found.forwards == greedy.sampled


def written(base: Base, trunk: Trunk, grammar: Any, tokens: int, beams: int, **how: Any) -> Generated:
    branch = trunk.branch(how.pop("author", None))
    try:
        *pieces, out = generate(
            branch,
            base.chat.generation_prompt,
            Sampler(how.pop("sampling", Sampling())),
            how.pop("budget", None) or Budget(tokens),
            stop_ids=base.end_ids,
            constraint=grammar.start(),
            beams=beams,
            **how,
        )
    finally:
        branch.close()
    assert isinstance(out, Generated) and "".join(piece.text for piece in pieces) == out.text
    return out


@pytest.mark.parametrize("tokens", [12, 20, 40, 90, 200])
def test_what_it_writes_fits_its_form_within_any_limit(base: Base, compiler: GrammarCompiler, tokens: int) -> None:
    grammar = compiler.compile(JsonSchema({**RECORDS, "minItems": 0}))
    for said, beams in itertools.product(("go", "tell me more"), (2, 5)):
        out = written(base, asked(base, said), grammar, tokens, beams)
        assert len(out.ids) <= tokens and out.text == base.tokenizer.decode(out.ids)
        jsonschema.validate(json.loads(out.text), {**RECORDS, "minItems": 0})
        assert out.beams in (1, beams)


def test_the_state_that_was_given_ends_where_the_text_does(base: Base, compiler: GrammarCompiler) -> None:
    state, branch = compiler.compile(JsonSchema(RECORDS)).start(), asked(base, "go").branch()
    *_, out = generate(
        branch,
        base.chat.generation_prompt,
        Sampler(Sampling()),
        Budget(200),
        stop_ids=base.end_ids,
        constraint=state,
        beams=4,
    )
    assert isinstance(out, Generated) and out.beams == 4 and out.whole and state.can_stop


def test_no_search_where_tokens_are_drawn_or_time_is_up(base: Base, compiler: GrammarCompiler) -> None:
    trunk, grammar = asked(base, "go"), compiler.compile(JsonSchema(RECORDS))
    drawn = written(base, trunk, grammar, 200, 4, sampling=Sampling(temperature=1.0, seed=1))
    late = written(base, trunk, grammar, 200, 4, budget=Budget(200, time.monotonic() - 1))
    calls = itertools.count()
    left = written(base, trunk, grammar, 200, 4, budget=Budget(200, None, lambda: next(calls) > 2))
    assert (drawn.beams, late.beams, left.beams) == (1, 1, 1)
    assert (late.reason, left.reason) == ("deadline", "cancelled")
    for out in (drawn, late, left):
        jsonschema.validate(json.loads(out.text), RECORDS)


def test_a_value_that_fails_its_check_is_no_hypothesis(base: Base, compiler: GrammarCompiler) -> None:
    schema = {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 2, "maxItems": 3, "uniqueItems": True}
    grammar = compiler.compile(JsonSchema(schema, on_unsupported="check"))
    for said in ("go", "more", "letters"):
        out = written(base, asked(base, said), grammar, 60, 6)
        jsonschema.validate(json.loads(out.text), schema)


@pytest.mark.parametrize("threshold", [None, 0.0, 1.0])
def test_the_two_ways_are_weighed_and_not_searched(
    base: Base, compiler: GrammarCompiler, threshold: float | None
) -> None:
    """One way has one short text, the other many long ones, each of them less likely than the short one."""
    grammar = compiler.compile(JsonSchema({**RECORDS, "minItems": 0}))
    for said in ("go", "more", "who is there", "list them"):
        balance = Balance("[]", "[{", base.tokenizer.token_bytes, threshold)
        out = written(base, asked(base, said), grammar, 200, 4, balance=balance)
        greedy = Balance("[]", "[{", base.tokenizer.token_bytes, threshold)
        written(base, asked(base, said), grammar, 200, 1, balance=greedy)
        assert out.weighed is not None and out.weighed == pytest.approx(greedy.probability, abs=1e-5)
        first = out.weighed >= (0.5 if threshold is None else threshold)
        assert (out.text == "[]") == first and out.threshold == threshold


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_context_that_follows_another_is_its_copy(base: Base, data: st.DataObject) -> None:
    draw = data.draw
    ids = st.integers(0, base.config.vocab_size - 1)
    shared = draw(st.lists(ids, min_size=1, max_size=40))
    tails = [draw(st.lists(ids, min_size=1, max_size=40)) for _ in range(2)]
    trunk, author = Trunk(base), Author(base.fingerprints.weights)
    own, other = trunk.computed, trunk.computed.fork(0)
    for context, tail in zip((own, other), tails, strict=True):
        context.feed(author, [*shared, *tail])
    own.follow(other, len(shared))
    assert own.ids == other.ids and own.ledger.spans == other.ledger.spans
    more = draw(st.lists(ids, min_size=1, max_size=5))
    followed, wanted = own.feed(author, more).hidden, other.fork(other.length).feed(author, more).hidden
    torch.testing.assert_close(followed, wanted, atol=1e-3, rtol=1e-3)  # the shared part was computed twice


@pytest.mark.parametrize("method", ["lora", "prefix", "prompt"])
def test_a_skill_with_virtual_tokens_is_searched_too(
    base: Base, compiler: GrammarCompiler, method_skill: Callable[..., Skill], method: str
) -> None:
    bank = Bank(base, slots=1)
    bank.add(method_skill(base, method, "skill"))
    slot, grammar = bank.pin("skill"), compiler.compile(JsonSchema(RECORDS))
    author = Author(base.fingerprints.weights, "skill", slot, "branch", bank.identity("skill"))
    trunk = Trunk(base, attached=bank.attached)
    trunk.extend(base.chat.message("user", "go"))
    branch = trunk.branch(author)
    wide = search(branch, base.chat.generation_prompt, grammar.start(), 4, Budget(200), base.end_ids)
    found = search(branch, base.chat.generation_prompt, grammar.start(), 1, Budget(200), base.end_ids)
    branch.close()
    greedy = written(base, trunk, grammar, 200, 1, author=author)
    assert wide is not None and found is not None and found.ids == greedy.ids
    assert trunk.computed.length == len(trunk.ids)


ACT = Tool(
    "act",
    "Acts.",
    {
        "type": "object",
        "properties": {"how": {"enum": ["slowly", "quickly", "at once"]}},
        "required": ["how"],
        "additionalProperties": False,
    },
    lambda how: "done",
)


def step_of(runtime: Runtime, sampling: Sampling | None = None, **policy: Any) -> Any:
    chosen = Policy(max_calls=2, min_calls=1, **policy)
    guard, limits = Guard(input=None, tools=None), Limits(step_tokens=160, max_steps=1)
    agent = Agent(runtime, [ACT], guard=guard, policy=chosen, limits=limits, sampling=sampling)
    return agent.run_sync("Act, please.").steps[0]


def test_the_card_says_how_wide_and_the_policy_has_the_last_word(small: Base, make_skill: Callable[..., Skill]) -> None:
    made = make_skill(small, "tools", "calls")
    card = Card.from_json(made.card.model_copy(update={"beams": 3}).to_json())
    assert card.beams == 3 and '"beams"' not in made.card.to_json()
    bank = Bank(small, slots=2)
    bank.add(Skill(card, made.tensors))
    runtime = Runtime(small, bank, ScriptedRouter(["tools"] * 4, ()))
    assert runtime.beams("tools") == 3 and runtime.beams("none") == 1
    assert step_of(runtime).beams == 3
    assert step_of(runtime, beams=1).beams == 1
    assert step_of(runtime, beams=5).beams == 5
    assert step_of(runtime, Sampling(temperature=1.0, seed=1)).beams == 1
    act: Any = runtime.skills.tools
    assert act("Act, please.", [ACT]).text == act("Act, please.", [ACT], beams=3).text


def test_numbers_of_hypotheses_that_make_no_sense_are_refused(small: Base, make_skill: Callable[..., Skill]) -> None:
    for beams in (0, 65):
        with pytest.raises(InputError, match="beams"):
            Policy(beams=beams)
        content = {**json.loads(make_skill(small, "tools", "calls").card.to_json()), "beams": beams}
        with pytest.raises(SkillError, match="beams"):
            Card.checked(content)


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(0, 1)), min_size=1, unique_by=lambda it: it[0]))
def test_the_fewest_that_are_as_good_as_the_best_are_chosen(drawn: list[tuple[int, float]]) -> None:
    widths = [Width(beams, right, 1.0) for beams, right in drawn]
    found = choose(widths)
    best = max(right for _, right in drawn)
    assert found.right >= best - 0.005
    assert all(width.right < best - 0.005 for width in widths if width.beams < found.beams)


def test_what_was_chosen_is_stored_and_the_rest_of_the_card_stays(
    small: Base, make_skill: Callable[..., Skill], tmp_path: Path
) -> None:
    make_skill(small, "tools", "calls").save(tmp_path)
    before = Card.read(tmp_path / "card.json")
    store(4, tmp_path, {"n": 3})
    after = Skill.load(tmp_path).card
    assert after.beams == 4 and after.training == {**before.training, "beams_chosen": {"n": 3}}
    assert after.model_copy(update={"beams": 1, "training": before.training}) == before
    (tmp_path / "card.json").write_text("{")
    with pytest.raises(SkillError, match="not JSON"):
        store(4, tmp_path, {})
