"""Skills that act on the whole context: their own caches, what they cost, and that nothing wrong is ever reused."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, Message, Row
from loraloop.adapters.skill.skill import Skill
from loraloop.agent import Agent, Limits, Runtime
from loraloop.agent.engine.cache.ledger import Author, Ledger, LedgerError
from loraloop.agent.engine.cache.prefix_cache import FullCaches
from loraloop.agent.engine.cache.sequence import CachedSequence
from loraloop.agent.engine.scheduler import Scheduler
from loraloop.agent.engine.trunk import Trunk

TOLERANCE = {"atol": 2e-4, "rtol": 1e-4}


@pytest.fixture(scope="module")
def bank(small: Base, make_skill: Callable[..., Skill]) -> Bank:
    made = Bank(small, slots=4)
    for seed, (name, activation) in enumerate({"one": "full", "two": "full", "branch": "branch"}.items()):
        made.add(make_skill(small, name, "text", seed + 20, activation))
    return made


def author(base: Base, bank: Bank, name: str) -> Author:
    weights = base.fingerprints.weights
    if name == "none":
        return Author(weights)
    return Author(weights, name, bank.slot(name), bank.card(name).activation, name)


def tokens(rng: random.Random, count: int) -> list[int]:
    return [rng.randrange(3, 259) for _ in range(count)]


def recomputed(base: Base, bank: Bank, who: Author, context: list[int], branch: list[int]) -> torch.Tensor:
    """Logits after the last token of `branch`, computed from nothing."""
    cache = base.new_cache()
    base.forward([Row(context, cache, who.slot if who.activation == "full" else 0)], attached=bank.attached)
    return base.logits(base.forward([Row(branch, cache, who.slot)], attached=bank.attached).hidden[-1:])[0]


SKILLS = st.sampled_from(["one", "two", "branch", "none"])
THEN = st.sampled_from(["keep", "drop", "cut", "fork"])


@settings(max_examples=15, deadline=None)
@given(
    steps=st.lists(st.tuples(SKILLS, THEN), min_size=3, max_size=8),
    seed=st.integers(0, 2**20),
    limit=st.sampled_from([0, 90, 10_000]),
)
def test_reused_contexts_equal_recomputed_ones_in_any_order(
    small: Base, bank: Bank, steps: list[tuple[str, str]], seed: int, limit: int
) -> None:
    rng = random.Random(seed)
    full = FullCaches(limit)
    trunk = Trunk(small, (), bank.attached, chunk=16, full=full)
    trunk.append(Message("user", "x"), tokens(rng, 40))
    for name, then in steps:
        who, ids = author(small, bank, name), tokens(rng, rng.randrange(2, 9))
        context = list(trunk.ids)
        branch = trunk.branch(who)
        torch.testing.assert_close(branch.feed(ids), recomputed(small, bank, who, context, ids), **TOLERANCE)
        assert (branch.recomputed == 0) or name in ("one", "two")
        branch.close(ids if then != "drop" else ())
        assert full.held.tokens <= limit
        if then == "keep":
            trunk.append(Message("tool", "z"), tokens(rng, rng.randrange(1, 25)))
        elif then == "cut":
            trunk.cut(max(1, len(trunk.ids) - rng.randrange(1, 20)))
        elif then == "fork":
            trunk = trunk.fork(max(1, len(trunk.ids) - rng.randrange(0, 20)))
    assert {span.author.skill for span in trunk.sequence.ledger.spans} <= {""}


def test_the_same_skill_goes_on_where_it_was(small: Base, bank: Bank) -> None:
    rng = random.Random(1)
    trunk = Trunk(small, (), bank.attached)
    trunk.extend(tokens(rng, 100))

    def step(name: str, keep: int) -> tuple[int, int]:
        branch = trunk.branch(author(small, bank, name))
        ids = tokens(rng, 6)
        branch.feed(ids)
        branch.close(ids[:keep])
        return branch.recomputed, branch.prefilled

    assert step("one", 6) == (100, 200), "the base's context, and the skill's"
    assert step("one", 0) == (0, 6), "its own tokens are its own; the base reads them for itself"
    assert step("one", 6) == (0, 0)
    assert step("two", 6) == (112, 118)
    trunk.extend(tokens(rng, 10))
    assert step("one", 6) == (16, 32), "what came since: the other's tokens and what was appended"
    assert step("branch", 6) == (0, 6) and step("none", 6)[0] == 0


def test_the_least_recently_used_context_goes_first(small: Base, bank: Bank) -> None:
    full = FullCaches(250)
    trunk = Trunk(small, (), bank.attached, full=full)
    trunk.extend(tokens(random.Random(2), 100))

    authors = {name: author(small, bank, name) for name in ("one", "two")}
    authors["third"] = replace(authors["one"], adapter="other tensors")

    def cost(name: str) -> int:
        branch = trunk.branch(authors[name])
        branch.close()
        return branch.recomputed

    assert [cost("one"), cost("two"), cost("one"), cost("third")] == [100, 100, 0, 100]
    assert full.held.tokens == 200 and full.held.count == 2 and full.held.bytes > 0
    assert [cost("one"), cost("two")] == [0, 100], "two was used least recently"
    branch = trunk.branch(author(small, bank, "one"))
    assert full.held.tokens == 100
    full.clear()
    assert full.held.tokens == 0
    branch.close()
    assert full.held.tokens == 100, "what is in use is not let go, and comes back"


def test_one_conversation_does_not_take_anothers_end(small: Base, bank: Bank) -> None:
    rng = random.Random(3)
    full, who = FullCaches(), author(small, bank, "one")
    shared, ends = tokens(rng, 60), [tokens(rng, 40), tokens(rng, 40)]
    trunks = [Trunk(small, (), bank.attached, full=full) for _ in ends]
    costs = []
    for turn in (0, 1, 0, 1):
        trunk = trunks[turn]
        if not trunk.ids:
            trunk.extend(shared + ends[turn])
        branch = trunk.branch(who)
        logits, ids = branch.feed([5]), list(trunk.ids)
        torch.testing.assert_close(logits, recomputed(small, bank, who, ids, [5]), **TOLERANCE)
        branch.close()
        costs.append(branch.recomputed)
    assert costs == [100, 40, 0, 0] and full.held.count == 2


def test_a_context_is_found_by_its_author_alone(small: Base, bank: Bank) -> None:
    who = author(small, bank, "one")
    ids = tokens(random.Random(4), 40)
    full = FullCaches()
    held = CachedSequence(Scheduler(small, bank.attached))
    held.feed(who, ids)
    full.put(held)
    weights = small.fingerprints.weights
    strangers = [
        Author(weights),
        Author("other weights", "one", 1, "full", "one"),
        Author(weights, "one", 1, "full", "other tensors"),
        Author(weights, "one", 1, "branch", "one"),
        author(small, bank, "two"),
    ]
    for stranger in strangers:
        assert full.take(stranger, ids) is None
        with pytest.raises(LedgerError, match="recompute them under it"):
            held.feed(stranger, [5])
    elsewhere = Author(weights, "one", 3, "full", "one")
    assert full.take(elsewhere, [*ids, 7]) is held and full.held.count == 0


AUTHORS = [
    Author(weights, skill, 1 if skill else 0, activation, adapter if skill else "")
    for weights in ("w", "v")
    for skill in ("", "a", "b")
    for activation in ("branch", "full")
    for adapter in ("1", "2")
    if skill or (activation == "branch" and adapter == "1")
]


@settings(max_examples=200, deadline=None)
@given(
    spans=st.lists(st.tuples(st.sampled_from(AUTHORS), st.integers(1, 5)), max_size=5),
    reader=st.sampled_from(AUTHORS),
    data=st.data(),
)
def test_the_ledger_lets_nobody_read_what_is_not_valid_for_him(
    spans: list[tuple[Author, int]], reader: Author, data: st.DataObject
) -> None:
    """Against the rule said the other way round, position by position."""
    ledger, owners = Ledger(), []
    for who, count in spans:
        owners += [who] * count
        ledger.record(who, len(owners))
    kept = data.draw(st.integers(0, len(owners)))
    ledger.truncate(kept)
    length = data.draw(st.integers(0, kept))

    def valid(owner: Author) -> bool:
        same_base = owner.weights == reader.weights
        if not owner.skill:
            return same_base and (not reader.skill or reader.activation == "branch")
        same = (owner.skill, owner.adapter, owner.activation) == (reader.skill, reader.adapter, reader.activation)
        return same_base and same

    if all(valid(owner) for owner in owners[:length]):
        ledger.check(reader, length)
    else:
        with pytest.raises(LedgerError, match="recompute them under it"):
            ledger.check(reader, length)
    with pytest.raises(LedgerError, match="the ledger knows"):
        ledger.check(reader, kept + 1)


def test_the_trace_says_what_it_cost(small: Base, bank: Bank) -> None:
    class Never:
        layers = (1,)

        def features(self, kept: Any, messages: Any = ()) -> Any:
            return None

        def choose(self, features: Any, state: Any) -> Any:
            from loraloop.router.decision import Route

            return Route("none", 1.0, False, (), ())

    runtime = Runtime(small, bank, Never(), full_reuse=5000)  # type: ignore[arg-type]
    agent = Agent(runtime, limits=Limits(step_tokens=5, max_steps=1))
    first = agent.run_sync("Hello there, how are you today?", skill="one")
    cost = first.steps[0].tokens
    assert cost.recomputed > 16 and cost.prefilled == 2 * cost.recomputed
    assert first.steps[0].ms["recompute"] > 0
    assert runtime.engine.full.limit == 5000 and 0 < runtime.engine.full.held.tokens <= 5000
    then = agent.run_sync("And now?", messages=first.messages, skill="one")
    again = then.steps[0].tokens
    assert 0 < again.recomputed < cost.recomputed, "the conversation goes on in the skill's own cache"
    assert agent.run_sync("And now?", messages=first.messages, skill="branch").steps[0].tokens.recomputed == 0


def test_parity_with_plain_peft_over_several_steps(tmp_path: Path, save_llama: Any) -> None:
    """A plain PEFT LoRA is a full-activation skill, and its steps have PEFT's logits on the whole transcript."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    folder = tmp_path / "tiny"
    save_llama(
        folder, 5, hidden_size=48, intermediate_size=80, num_attention_heads=6, head_dim=8, initializer_range=0.15
    )
    base = Base.load(str(folder), quantize="fp32", device="cpu", cache_dir=tmp_path / "cache")
    plain = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    made = LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(plain, made).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape) * 0.2)
    model.save_pretrained(tmp_path / "ordinary")
    bank = Bank(base, slots=1)
    assert bank.card(bank.add(Skill.from_peft(tmp_path / "ordinary", base))).activation == "full"
    who = author(base, bank, "ordinary")
    rng = random.Random(6)
    trunk = Trunk(base, (), bank.attached)
    trunk.extend(tokens(rng, 30))
    for step in range(4):
        ids = tokens(rng, 7)
        whole = torch.tensor([[*trunk.ids, *ids]])
        with torch.no_grad():
            adapted = model(whole).logits[0, -1]
            with model.disable_adapter():
                bare = model(whole).logits[0, -1]
        branch = trunk.branch(who if step % 2 == 0 else None)
        found = branch.feed(ids)
        branch.close(ids)
        expected, other = (adapted, bare) if step % 2 == 0 else (bare, adapted)
        assert (found - expected).abs().max() < 2e-4 < 0.02 < (found - other).abs().max()
        trunk.extend(tokens(rng, 5))
