"""N-best reranking: a judge chooses among the likeliest texts, and among two ways that a balance weighs."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, Message, random_base
from loraloop.adapters.grounding import Said
from loraloop.adapters.skill.card import MARGIN, Card, Reranking, Threshold
from loraloop.adapters.skill.skill import Skill, library
from loraloop.agent import Agent, Guard, Limits, Policy, Runtime
from loraloop.agent.engine import Budget, Generated, Sampler, Sampling, Trunk, generate
from loraloop.agent.engine.beam import likeliest
from loraloop.agent.engine.two_way_choice import Balance
from loraloop.agent.reranking import Reranker, reranker
from loraloop.evals.agent_systems import identities
from loraloop.evals.reranking import NAMES, Found, fit, store, weights_of
from loraloop.testing import ScriptedRouter
from loraloop.tool_schemas.errors import InputError, SkillError
from loraloop.tool_schemas.grammar.grammar import Choice, GrammarCompiler, JsonSchema
from loraloop.tool_schemas.tools.tool import Tool

TEXTS = ("red", "rose", "rosette", "blue", "black", "blackbird", "green", "grey")
LETTERS = {"type": "array", "items": {"enum": ["a", "b", "c"]}, "maxItems": 3}


@pytest.fixture(scope="module")
def base() -> Base:
    made: Base = random_base(3)
    return made


@pytest.fixture(scope="module")
def compiler(base: Base) -> GrammarCompiler:
    return GrammarCompiler(base.tokenizer.json, base.config.vocab_size, base.chat.closing[0])


def asked(base: Base, said: str) -> Trunk:
    trunk = Trunk(base)
    trunk.extend(base.chat.message("user", said))
    return trunk


def found_by(
    base: Base, compiler: GrammarCompiler, trunk: Trunk, term: Any, beams: int, **how: Any
) -> dict[str, float]:
    branch = trunk.branch()
    state = compiler.compile(term).start()
    found = likeliest(branch, base.chat.generation_prompt, state, beams, Budget(60), base.end_ids, **how)
    assert branch.computed.length == len(trunk.ids)
    branch.close()
    assert [each.log_probability for each in found] == sorted((each.log_probability for each in found), reverse=True)
    texts = {base.tokenizer.decode(each.ids): each.log_probability for each in found}
    assert len(texts) == len(found)
    return texts


class Fixed:
    """A judge with a score for each text."""

    def __init__(self, scores: dict[str, float], nothing: float = -math.inf, margin: float = MARGIN) -> None:
        self.margin = margin
        self.scores, self._nothing, self.seen = scores, nothing, dict[str, float]()

    def score(self, text: str, log_probability: float, entropy: float) -> float:
        self.seen[text] = log_probability
        return self.scores.get(text, -100.0)

    def nothing(self, log_odds: float) -> float:
        self.log_odds = log_odds
        return self._nothing

    def missing(self, text: str) -> tuple[str, ...]:
        return (text,)

    def short(self, text: str) -> bool:
        return False

    def longer(self, text: str, than: str) -> bool:
        raise AssertionError


def written(base: Base, compiler: GrammarCompiler, trunk: Trunk, term: Any, **how: Any) -> Generated:
    branch = trunk.branch()
    *_, out = generate(
        branch,
        base.chat.generation_prompt,
        Sampler(how.pop("sampling", Sampling())),
        Budget(60),
        stop_ids=base.end_ids,
        constraint=compiler.compile(term).start(),
        **how,
    )
    branch.close()
    assert isinstance(out, Generated)
    return out


@pytest.mark.parametrize("said", ["go", "which colour?"])
def test_the_likeliest_texts_are_found_in_their_order(base: Base, compiler: GrammarCompiler, said: str) -> None:
    trunk, term = asked(base, said), Choice(TEXTS)
    every = found_by(base, compiler, trunk, term, 64, kept=64, margin=1e9)
    assert every.keys() == set(TEXTS)
    best = sorted(every.values(), reverse=True)
    three = found_by(base, compiler, trunk, term, 64, kept=3, margin=1e9)
    assert list(three.values()) == pytest.approx(best[:3], abs=2e-3)
    near = found_by(base, compiler, trunk, term, 64, kept=64, margin=1.0)
    assert near.keys() == {text for text, score in every.items() if score >= best[0] - 1.0}


def test_a_text_is_found_once_however_its_tokens_spell_it() -> None:
    """The shipped base has words, their parts and letters as tokens, unlike the random one."""
    shipped = Base.load()
    compiler = GrammarCompiler(shipped.tokenizer.json, shipped.config.vocab_size, shipped.chat.closing[0])
    found = found_by(shipped, compiler, asked(shipped, "a colour"), Choice(TEXTS), 24, kept=24, margin=1e9)
    assert found.keys() == set(TEXTS)


def test_what_is_refused_is_not_found(base: Base, compiler: GrammarCompiler) -> None:
    trunk, decode = asked(base, "go"), base.tokenizer.decode

    def refuses(ids: Any) -> bool:
        return decode(list(ids)).startswith("bl")

    found = found_by(base, compiler, trunk, Choice(TEXTS), 64, kept=64, margin=1e9, refuses=refuses)
    assert found.keys() == {text for text in TEXTS if not text.startswith("bl")}


def test_hypotheses_far_behind_are_dropped(base: Base, compiler: GrammarCompiler) -> None:
    """None at a great width; at none, all but the likeliest, which is what greedy decoding writes."""
    trunk, term = asked(base, "go"), Choice(TEXTS)
    every = found_by(base, compiler, trunk, term, 16, kept=16, margin=1e9)
    assert found_by(base, compiler, trunk, term, 16, kept=16, margin=1e9, width=1e9) == every
    some = found_by(base, compiler, trunk, term, 16, kept=16, margin=1e9, width=0.5)
    assert some.keys() < every.keys()
    (greedy,) = found_by(base, compiler, trunk, term, 16, kept=16, margin=1e9, width=0.0)
    assert greedy == written(base, compiler, trunk, term).text and greedy in some


def test_the_judge_chooses_among_what_was_found(base: Base, compiler: GrammarCompiler) -> None:
    trunk, term = asked(base, "go"), Choice(TEXTS)
    known = found_by(base, compiler, trunk, term, 16, kept=10, margin=MARGIN)
    for text in known:
        judge = Fixed({text: 1.0})
        out = written(base, compiler, trunk, term, beams=16, judge=judge)
        assert out.text == text and out.beams == 16 and out.whole
        assert judge.seen == pytest.approx(known, abs=2e-3)
    assert written(base, compiler, trunk, term, beams=1, judge=Fixed({})).beams == 1
    drawn = written(base, compiler, trunk, term, beams=4, judge=Fixed({}), sampling=Sampling(temperature=1.0, seed=1))
    assert drawn.beams == 1


def test_the_judge_says_how_far_behind_a_text_may_be(base: Base, compiler: GrammarCompiler) -> None:
    trunk, term = asked(base, "go"), Choice(TEXTS)
    seen = []
    for margin in (0.1, 1.0, 2.0, 4.0):
        judge = Fixed({}, margin=margin)
        written(base, compiler, trunk, term, beams=16, judge=judge)
        best = max(judge.seen.values())
        assert all(score >= best - margin for score in judge.seen.values())
        seen.append(judge.seen.keys())
    assert all(few <= more for few, more in itertools.pairwise(seen)) and len(seen[0]) < len(seen[-1])
    on_card = Reranking(weights={}, margin=1.5)
    assert reranker(on_card, [Message("user", "go")], []).margin == 1.5 != Reranking(weights={}).margin == MARGIN


@pytest.mark.parametrize("threshold", [None, 0.0, 0.3, 0.9, 1.0])
def test_the_first_way_is_scored_beside_the_texts_of_the_second(
    base: Base, compiler: GrammarCompiler, threshold: float | None
) -> None:
    trunk, term = asked(base, "go"), JsonSchema(LETTERS)
    plain = Balance("[]", '["', base.tokenizer.token_bytes, threshold)
    written(base, compiler, trunk, term, balance=plain)
    first = plain.probability
    assert first is not None and 0 < first < 0.99
    for nothing in (-30.0, -1.0, 0.0, 1.0, 30.0):
        balance = Balance("[]", '["', base.tokenizer.token_bytes, threshold)
        judge = Fixed({}, nothing - 100.0)
        out = written(base, compiler, trunk, term, beams=3, balance=balance, judge=judge)
        assert judge.log_odds == pytest.approx(math.log(first / (1 - first)), abs=1e-3)
        assert out.weighed == pytest.approx(1 / (1 + math.exp(-nothing)), abs=1e-6) and out.threshold == threshold
        assert (out.text == "[]") == (out.weighed >= (0.5 if threshold is None else threshold))
        assert "[]" not in judge.seen
        assert out.missing == ((next(iter(judge.seen)),) if out.text == "[]" else ())


def test_nothing_else_is_looked_at_where_the_first_way_is_sure(base: Base, compiler: GrammarCompiler) -> None:
    class Sure(Balance):
        def weigh_(self, ids: Any, logits: Any, otherwise: float | None = None) -> None:
            super().weigh_(ids, logits, otherwise)
            if self.probability is not None:
                self.probability = 0.995

    judge = Fixed({})
    balance = Sure("[]", '["', base.tokenizer.token_bytes, 0.4)
    written(base, compiler, asked(base, "go"), JsonSchema(LETTERS), beams=3, balance=balance, judge=judge)
    assert balance.probability == 0.995 and not judge.seen


PARK = Tool(
    "park",
    "Parks a car.",
    {
        "type": "object",
        "properties": {"zone": {"enum": ["A", "B"]}, "hours": {"enum": [1, 2]}},
        "required": ["zone", "hours"],
        "additionalProperties": False,
    },
    lambda zone, hours: "parked",
)
REQUEST = "Park it in zone B for 2 hours."


def step_of(runtime: Runtime, **policy: Any) -> Any:
    agent = Agent(
        runtime,
        [PARK],
        guard=Guard(input=None, tools=None),
        policy=Policy(max_calls=1, **policy),
        limits=Limits(step_tokens=160, max_steps=1),
    )
    return agent.run_sync(REQUEST).steps[0]


def with_card(base: Base, skill: Skill, **fields: Any) -> Runtime:
    bank = Bank(base, slots=2)
    bank.add(Skill(Card.from_json(skill.card.model_copy(update=fields).to_json()), skill.tensors))
    return Runtime(base, bank, ScriptedRouter(["tools"] * 4, ()))


def test_the_weights_on_a_card_choose_the_calls_that_are_made(small: Base, make_skill: Callable[..., Skill]) -> None:
    made = make_skill(small, "tools", "calls")
    weights = {"log_probability": 0.01, "texts_unsaid": -9.0, "choices_unsaid": -9.0, "numbers_unsaid": -9.0,
               "names_left": -9.0, "figures_left": -9.0}  # fmt: skip
    runtime = with_card(small, made, beams=8, reranking=Reranking(weights=weights, no_call_from=1.0))
    step = step_of(runtime)
    assert json.loads(step.text) == [{"name": "park", "arguments": {"zone": "B", "hours": 2}}]
    assert step.beams == 8 and step.no_call is not None and step.no_call_from == 1.0
    function: Any = runtime.skills.tools
    assert function(REQUEST, [PARK]).calls[0].arguments == {"zone": "B", "hours": 2}
    turned = {name: -weight for name, weight in weights.items()}
    other = with_card(small, made, beams=8, reranking=Reranking(weights=turned, no_call_from=1.0))
    assert json.loads(step_of(other).text) != json.loads(step.text)
    assert step_of(with_card(small, made, beams=8, reranking=Reranking(weights=weights, no_call_from=0.0))).text == "[]"
    assert step_of(runtime, no_call_from=0.0).text == "[]"
    assert step_of(runtime, beams=1).beams == 1


def test_a_list_that_leaves_something_is_searched_for_longer_ones() -> None:
    tool = {"name": "park", "description": "Parks.", "parameters": PARK.parameters}
    said = Said([Message("user", "Park in zone A for 1 hour and in zone B for 2 hours.")], [tool])
    judge = Reranker({"figures_left": -1.0}, said)
    one = '[{"name":"park","arguments":{"zone":"A","hours":1}}]'
    two = one[:-1] + ',{"name":"park","arguments":{"zone":"B","hours":2}}]'
    assert judge.short(one) and not judge.short(two) and not judge.short("[]")
    assert judge.longer(two, one) and not judge.longer(one, one) and not judge.longer(one, two)
    assert judge.longer('[{"name":"pa', one) and judge.longer('[{"name":"park","arguments":{"zones":["A"]', one)
    assert judge.score(two, -5.0, 0.0) > judge.score(one, -1.0, 0.0)


def test_a_card_keeps_its_weights_and_refuses_what_is_no_feature(
    small: Base, make_skill: Callable[..., Skill], tmp_path: Path
) -> None:
    made = make_skill(small, "tools", "calls")
    made.save(tmp_path)
    assert '"reranking"' not in made.card.to_json()
    fitted = fit(cases(40))
    store(fitted, tmp_path, 5, {"command": "x"}, margin=2.5)
    card = Skill.load(tmp_path).card
    assert card.reranking is not None and (card.beams, card.reranking.margin) == (5, 2.5)
    assert card.reranking.weights == fitted.weights and card.reranking.no_call_from == 0.5
    assert card.reranking.chosen["command"] == "x" and card.reranking.chosen["n"] == 40
    content = json.loads(card.to_json())
    content["reranking"]["weights"]["figure_left"] = 1.0
    with pytest.raises(SkillError, match="figures_left"):
        Card.checked(content)
    content = json.loads(make_skill(small, "words", "text").card.to_json())
    with pytest.raises(SkillError, match="only calls"):
        Card.checked({**content, "reranking": {"weights": {}}})


def cases(count: int, useful: float = 1.0) -> list[Found]:
    """Cases with three texts, of which the one that leaves no figure is right, whatever the model finds likelier."""
    rng, made = np.random.default_rng(0), []
    for index in range(count):
        none = index % 4 == 0
        table = np.zeros((4, len(NAMES)))
        table[:3, NAMES.index("log_probability")] = np.sort(rng.normal(-2, 1, 3))[::-1]
        right = np.zeros(4, bool)
        right[3 if none else rng.integers(3)] = True
        table[:3, NAMES.index("figures_left")] = useful * ~right[:3]
        table[:3, NAMES.index("sentences_left")] = rng.integers(0, 3, 3)
        probability = float(np.clip(rng.normal(0.8 if none else 0.2, 0.15), 0.01, 0.98))
        table[3, NAMES.index("none")] = 1
        table[3, NAMES.index("none_log_odds")] = math.log(probability / (1 - probability))
        made.append(Found("none" if none else "single", f"g{index}", none, probability, table, right))
    return made


def test_weights_are_fitted_and_measured_on_cases_of_other_folds() -> None:
    fitted = fit(cases(200))
    assert fitted.weights["figures_left"] < -1 and abs(fitted.weights.get("sentences_left", 0.0)) < 0.5
    assert fitted.right["reranked"] > 0.9 > fitted.right["likeliest"] + 0.2
    assert fitted.right["best"] == 1.0 and fitted.n == 200
    assert fitted.kinds["single"]["n"] + fitted.kinds["none"]["n"] == 200
    useless = fit(cases(200, useful=0.0))
    assert useless.right["reranked"] <= useless.right["likeliest"] + 0.05
    assert fit(cases(200)) == fitted and fitted.penalty < useless.penalty
    assert fitted.rates["abstained"] > 0.9 > 0.1 > fitted.rates["lost"]


def test_what_few_cases_do_not_tell_is_taken_from_another_skill() -> None:
    """No case has quotes; the weight for them is the other skill's, and stays out without one."""
    alone, helped = fit(cases(40)), fit(cases(40), start={"log_probability": 1.0, "quotes_left": -2.0})
    assert helped.weights["quotes_left"] == -2.0 and "quotes_left" not in alone.weights
    assert helped.weights["figures_left"] < -1 and helped.right["reranked"] > 0.9
    assert weights_of(library()["tools"])["quotes_left"] < 0
    with pytest.raises(InputError, match="tools-reranking --write"):
        weights_of(library()["code"])


def test_too_few_cases_are_refused() -> None:
    with pytest.raises(InputError, match="raise --limit"):
        fit(cases(4))


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), st.floats(-5, 5), max_size=6), st.floats(0, 1))
def test_any_weights_survive_a_card(weights: dict[str, float], share: float) -> None:
    reranking = Reranking(weights=weights, no_call_from=share)
    assert Reranking.model_validate_json(reranking.model_dump_json()) == reranking


def test_kept_outputs_belong_to_skills_and_to_how_these_are_decoded(
    small: Base, make_skill: Callable[..., Skill]
) -> None:
    made = make_skill(small, "tools", "calls")

    def of(**fields: Any) -> str:
        return identities(with_card(small, made, **fields))["tools"]

    other = of(reranking=Reranking(weights={"calls": 1.0}))
    assert len({of(), of(beams=3), of(threshold=Threshold(value=0.2)), other}) == 4
    assert of(threshold=Threshold(value=0.2, chosen={"n": 3})) == of(threshold=Threshold(value=0.2))
