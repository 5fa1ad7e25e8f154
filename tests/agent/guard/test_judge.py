"""The verdict's threshold decides, and what is decoded says the same."""

from __future__ import annotations

import json
import math
import random

import pytest
import torch

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Message
from loraloop.adapters.skill.card import Card, Threshold
from loraloop.adapters.skill.contracts import openings, verdict_of
from loraloop.adapters.skill.skill import Skill
from loraloop.agent import Agent, Gate, Guard, Runtime
from loraloop.agent.engine.cache.sequence import QueueFullError, RequestContext
from loraloop.agent.engine.sampler import TwoWayChoice
from loraloop.agent.guard.gates import judged_alone
from loraloop.agent.guard.judge import Judge
from loraloop.agent.values.step import GateRecord, Weighed
from loraloop.router.decision import Route, ScreenResult
from loraloop.testing import ScriptedRuntime, verdict
from loraloop.tool_schemas.errors import ContextLengthError, InputError, SkillError

THRESHOLDS = (0.0, 0.01, 0.2, 0.5, 0.8, 0.99, 1.0)


class Asking:
    """A router that always asks for a verdict and then chooses none."""

    layers = (1,)

    def features(self, kept, messages):
        return kept[1][-1]

    def screen(self, features):
        return ScreenResult(0.9, True, 0.5)

    def choose(self, features, state):
        return Route("none", 1.0, False, (), ())


def runtime_with(base, skill: Skill, threshold: float | None = None) -> Runtime:
    if threshold is not None:
        skill = Skill(skill.card.model_copy(update={"threshold": Threshold(value=threshold)}), skill.tensors)
    bank = Bank(base)
    bank.add(skill)
    return Runtime(base, bank, Asking())


def asked(seed: int) -> list[Message]:
    rng = random.Random(seed)
    words = ("how", "kill", "cake", "the", "file", "bake", "him")
    return [Message("user", " ".join(rng.choice(words) for _ in range(6)))]


@pytest.fixture(scope="module")
def skills(tiny_base, make_skill):
    return [make_skill(tiny_base, "safety", "verdict", seed) for seed in range(3)]


def test_threshold_decides_and_the_text_agrees(tiny_base, skills):
    """A lower threshold never yields fewer unsafe verdicts; the probability does not depend on it."""
    refused = dict.fromkeys(THRESHOLDS, 0)
    for skill in skills:
        runtime = runtime_with(tiny_base, skill)
        for seed in range(4):
            chances = set()
            for threshold in THRESHOLDS:
                gate = Judge(runtime, unsafe_from=threshold)
                judgement = gate.judge(gate.read(asked(seed)))
                assert verdict_of(judgement.text) == judgement.verdict
                assert judgement.verdict.unsafe == (judgement.probability >= threshold)
                chances.add(judgement.probability)
                refused[threshold] += judgement.verdict.unsafe
            assert len(chances) == 1
    counts = list(refused.values())
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == 12 > counts[-1]


def test_without_a_threshold_the_likelier_verdict_is_decoded(tiny_base, skills):
    for skill in skills:
        gate = Judge(runtime_with(tiny_base, skill))
        for seed in range(4):
            judgement = gate.judge(gate.read(asked(seed)))
            assert judgement.threshold is None and 0 <= judgement.probability <= 1
            assert verdict_of(judgement.text).unsafe == judgement.verdict.unsafe


def test_runs_take_the_cards_threshold_and_the_policy_overrides_it(tiny_base, skills):
    messages = asked(1)
    runtime = runtime_with(tiny_base, skills[0], threshold=0.0)
    gate = Judge(runtime)
    alone = gate.judge(gate.read(messages))
    assert alone.threshold == 0.0 and alone.verdict.unsafe
    refused = Agent(runtime).run_sync(messages[0].content)
    step = refused.steps[0]
    assert refused.stop_reason == "refused" and step.outcome == "unsafe"
    assert step.weighed == Weighed("unsafe", alone.probability, 0.0)
    assert json.loads(refused.to_json())["steps"][0]["weighed"]["probability"] == step.weighed.probability
    let = Agent(runtime, guard=Guard(input=Gate(unsafe_from=1.0))).run_sync(messages[0].content)
    assert let.steps[0].outcome == "safe" and let.steps[0].weighed.threshold == 1.0
    assert let.steps[0].weighed.probability == step.weighed.probability
    assert let.steps[1].weighed is None
    with pytest.raises(InputError, match="unsafe_from"):
        Gate(unsafe_from=1.5)


def test_sampling_does_not_touch_the_decision(tiny_base, skills):
    from loraloop.agent.engine.sampler import Sampling

    runtime = runtime_with(tiny_base, skills[1], threshold=0.0)
    for seed in range(3):
        run = Agent(runtime, sampling=Sampling(temperature=2.0, seed=seed)).run_sync(asked(2)[0].content)
        assert run.steps[0].outcome == "unsafe"


def test_balance_counts_every_token_of_a_way():
    """Several tokens may begin a way; tokens of no way are not counted."""
    pieces = [b'{"verdict":"', b"s", b"un", b"u", b"safe", b"x"]
    logits = torch.tensor([0.0, 1.0, 2.0, 0.5, -1.0, float("-inf")])
    balance = TwoWayChoice(*openings("verdict"), pieces.__getitem__, 0.5)
    balance.weigh_([], torch.tensor([3.0] + [float("-inf")] * 5))  # forced: nothing to weigh
    assert balance.probability is None
    logits[0] = float("-inf")
    weights = logits.double().softmax(0)
    balance.weigh_([0], logits)
    assert balance.probability == pytest.approx(float(weights[2] + weights[3]))
    assert logits.isfinite().tolist() == [False, False, True, True, False, False]


@pytest.mark.parametrize(("threshold", "allowed"), [(None, [0, 1, 2]), (0.0, [0]), (1.0, [1, 2])])
def test_balance_counts_a_token_of_both_ways_for_the_one_that_is_written_with_it(threshold, allowed):
    """`[]` may be one token where a list of calls begins with `[` and `{"`: most of the weight is on `[` then."""
    pieces = [b"[]", b"[{", b"[", b'{"', b"x"]
    logits = torch.tensor([-3.0, -6.0, 2.0, float("-inf"), float("-inf")])
    balance = TwoWayChoice(*openings("calls"), pieces.__getitem__, threshold, written=([0], [2, 3]))
    weights = logits[:3].double().softmax(0)
    balance.weigh_([], logits)
    assert balance.probability == pytest.approx(float(weights[0]))
    assert logits.isfinite().nonzero().flatten().tolist() == allowed


@pytest.mark.parametrize(("third", "allowed", "weighed"), [(-1.0, [0, 2], True), (5.0, [0, 1, 2, 3], False)])
def test_balance_leaves_another_opening_open(third: float, allowed: list[int], weighed: bool) -> None:
    """Where a third way to begin is the likeliest, nothing is weighed."""
    pieces = [b"[]", b"[{", b'{"', b"["]
    logits = torch.tensor([1.0, 0.0, third, 0.5])
    balance = TwoWayChoice(*openings("calls"), pieces.__getitem__, 0.1, written=([0], [1]))
    balance.weigh_([], logits)
    assert logits.isfinite().nonzero().flatten().tolist() == allowed
    assert (balance.probability is not None) == weighed


def test_balance_waits_where_both_ways_are_written_with_a_token():
    pieces = [b"[", b"]", b'{"', b"["]
    balance = TwoWayChoice(*openings("calls"), pieces.__getitem__, 0.5, written=([0, 1], [0, 2]))
    balance.weigh_([], torch.tensor([1.0, *[float("-inf")] * 3]))
    assert balance.probability is None
    logits = torch.tensor([float("-inf"), 0.0, 2.0, float("-inf")])
    balance.weigh_([0], logits)
    assert balance.probability == pytest.approx(1 / (1 + math.exp(2.0)))


def test_balance_looks_at_no_token_once_only_one_way_is_left():
    """Where a call is required, nothing is weighed; a string leaves most of the vocabulary open, at every token."""
    looked: list[int] = []

    def piece(token: int) -> bytes:
        looked.append(token)
        return [b'[{"name":"', b"a", b"b"][token]

    logits = torch.zeros(3)
    balance = TwoWayChoice(*openings("calls"), piece, 0.5)
    balance.weigh_([0, 1], logits)
    assert looked == [0, 1] and balance.probability is None and logits.isfinite().all()


def test_card_keeps_its_threshold(tmp_path, tiny_base, skills):
    card = skills[0].card
    assert "threshold" not in json.loads(card.to_json())
    marked = card.model_copy(update={"threshold": Threshold(value=0.25, chosen={"n": 4, "rates": {"recall": 1.0}})})
    Skill(marked, skills[0].tensors).save(tmp_path / "safety")
    again = Skill.load(tmp_path / "safety").card
    assert again.threshold == marked.threshold
    assert Runtime.load(tiny_base, skills=[tmp_path / "safety"], router=Asking()).threshold("safety") == 0.25
    fields = json.loads(marked.to_json())
    with pytest.raises(SkillError, match="only verdicts, agreements, calls and answers"):
        Card.checked(fields | {"contract": "text"})
    with pytest.raises(SkillError, match="threshold"):
        Card.checked(fields | {"threshold": {"value": 2}})


def test_gate_needs_a_skill_that_judges(tiny_base, make_skill):
    with pytest.raises(InputError, match="verdicts"):
        Judge(runtime_with(tiny_base, make_skill(tiny_base, "prose")))


@pytest.mark.parametrize("room", [0, 1, 10, 30])
def test_a_message_that_leaves_no_room_for_its_verdict_is_not_safe(room: int) -> None:
    """Within a few tokens the shortest verdict would be the only one: safe."""
    runtime = ScriptedRuntime(verdict("violence"), verdict("violence"), context=400)
    judge, chat = Judge(runtime), runtime.base.chat
    empty = len(judge.read([Message("user", "")]).ids) + len(chat.generation_prompt)
    trunk = judge.read([Message("user", "x" * (400 - empty - room))])
    with pytest.raises(ContextLengthError, match="shorten"):
        judge.judge(trunk)
    record = GateRecord(0, "output", "passed")
    found = judged_alone(
        runtime,
        Gate(screen=0),
        record,
        [each.message for each in trunk.messages],
        "refused",
        request_context=RequestContext(),
    )
    assert (found.outcome, found.undecided) == ("refused", True)


def test_a_queue_without_room_is_no_reason_to_refuse_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise QueueFullError("4096 requests wait for the base")

    runtime = ScriptedRuntime(verdict())
    monkeypatch.setattr(runtime.engine, "step", full)
    record, said = GateRecord(0, "output", "passed"), [Message("user", "Hi")]
    with pytest.raises(QueueFullError):
        judged_alone(runtime, Gate(screen=0), record, said, "refused", request_context=RequestContext())
