"""Branches of skills of every method: virtual tokens in the caches and the ledger, and that nothing wrong is reused."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.bank.device import slots_for
from loraloop.adapters.base import Base, Message, Row, random_base
from loraloop.adapters.skill.skill import Skill
from loraloop.agent import Agent, Limits, Policy, Runtime
from loraloop.agent.engine.cache.ledger import Author, LedgerError
from loraloop.agent.engine.cache.prefix_cache import FullCaches
from loraloop.agent.engine.cache.sequence import CachedSequence
from loraloop.agent.engine.scheduler import Scheduler
from loraloop.agent.engine.trunk import Trunk
from loraloop.tool_schemas.errors import ContextLengthError

METHODS = ("lora", "dora", "ia3", "prefix", "prompt", "bottleneck", "vera")
VIRTUAL = {"prefix": 5, "prompt": 5}
Make = Callable[..., Skill]


def filled(base: Base, method_skill: Make) -> Bank:
    bank = Bank(base, slots=3)  # fewer than skills: they are swapped all the time
    for seed, method in enumerate(METHODS):
        bank.add(method_skill(base, method, method, seed=seed))
        bank.add(method_skill(base, method, f"{method}-full", "full", seed=seed + 50))
    return bank


@pytest.fixture(scope="module", params=["torch", "native"])
def bank(request: pytest.FixtureRequest, method_skill: Make) -> tuple[Base, Bank]:
    base: Base = random_base(3) if request.param == "torch" else request.getfixturevalue("native_base")
    return base, filled(base, method_skill)


def author(base: Base, bank: Bank, name: str) -> Author:
    weights = base.fingerprints.weights
    if name == "none":
        return Author(weights)
    slot = bank.slot(name)
    return Author(weights, name, slot, bank.card(name).activation, bank.identity(name))


def tokens(rng: random.Random, count: int) -> list[int]:
    return [rng.randrange(3, 259) for _ in range(count)]


def recomputed(base: Base, bank: Bank, who: Author, context: list[int], branch: list[int]) -> torch.Tensor:
    """Logits after the last token of `branch`, computed from nothing and without the engine."""
    cache, virtual = base.new_cache(), bank.attached.virtual(who.slot)

    def begin() -> Any:
        if virtual is not None and virtual.prefix:
            cache.extend(virtual.prefix)
        return None if virtual is None else virtual.prompt

    if who.activation == "full":
        base.forward([Row([*context, *branch], cache, who.slot, begin())], attached=bank.attached)
        cache.truncate(cache.length - 1)
        out = base.forward([Row(branch[-1:], cache, who.slot)], attached=bank.attached)
    else:
        base.forward([Row(context, cache)])
        out = base.forward([Row(branch, cache, who.slot, begin())], attached=bank.attached)
    return base.logits(out.hidden[-1:])[0]


def close(base: Base, ours: torch.Tensor, exact: torch.Tensor) -> None:
    error = float((ours - exact).norm() / exact.norm())
    assert error < (0.03 if base.native else 1e-4), error


NAMES = st.sampled_from([*METHODS, *(f"{method}-full" for method in METHODS), "none"])


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(
        st.tuples(NAMES, st.sampled_from(["keep", "drop", "rewind", "cut", "fork"])), min_size=2, max_size=6
    ),
    seed=st.integers(0, 2**20),
)
def test_reused_keys_and_values_equal_recomputed_ones_for_every_method(
    bank: tuple[Base, Bank], steps: list[tuple[str, str]], seed: int
) -> None:
    base, skills = bank
    rng = random.Random(seed)
    trunk = Trunk(base, (1,), skills.attached, chunk=16, full=FullCaches(10_000))
    trunk.append(Message("user", "x"), tokens(rng, 30))
    for name, then in steps:
        who, ids, context = author(base, skills, name), tokens(rng, rng.randrange(3, 9)), list(trunk.ids)
        branch = trunk.branch(who)
        virtual = VIRTUAL.get(name.removesuffix("-full"), 0)
        assert branch.left == trunk.context - len(context) - virtual
        if then == "rewind":
            other = tokens(rng, rng.randrange(1, 6))
            branch.feed([*ids[:-1], *other])
            close(base, branch.logits_after(ids), recomputed(base, skills, who, context, ids))
            close(base, branch.logits_after(ids[:1]), recomputed(base, skills, who, context, ids[:1]))
            branch.feed(ids[1:])
        else:
            cut = rng.randrange(1, len(ids))
            branch.feed(ids[:cut])
            close(base, branch.feed(ids[cut:]), recomputed(base, skills, who, context, ids))
        branch.close(ids if then != "drop" else (), Message("assistant", "y") if then != "drop" else None)
        assert trunk.sequence.virtual == 0 and trunk.sequence.cache.length == trunk.sequence.length
        assert all(span.author.bare for span in trunk.sequence.ledger.spans)
        assert trunk.ids == [*context, *(ids if then != "drop" else ())]
        if then == "cut":
            trunk.cut(len(trunk.ids) - rng.randrange(1, 12))
        elif then == "fork":
            trunk = trunk.fork(len(trunk.ids) - rng.randrange(1, 12))
        trunk.append(Message("user", "z"), tokens(rng, rng.randrange(1, 20)))


def test_virtual_tokens_are_in_the_ledger_and_no_token(bank: tuple[Base, Bank]) -> None:
    base, skills = bank
    bare = Author(base.fingerprints.weights)
    for name in ("prefix", "prompt"):
        who = author(base, skills, name)
        trunk = Trunk(base, (), skills.attached)
        trunk.extend(tokens(random.Random(0), 20))
        branch = trunk.branch(who)
        branch.feed([7, 8])
        held = trunk.sequence
        assert (held.length, held.positions, held.virtual, held.cache.length) == (22, 27, 5, 27)
        assert [(span.start, span.end, span.author.skill) for span in held.ledger.spans] == [
            (0, 20, ""),
            (20, 27, name),
        ]
        with pytest.raises(LedgerError, match="positions 20 to 27 were computed by"):
            held.feed(bare, [5])
        branch.close()
        assert (held.length, held.positions, held.cache.length, held.ledger.length) == (20, 20, 20, 20)


def test_a_branch_that_was_never_fed_leaves_nothing(bank: tuple[Base, Bank]) -> None:
    base, skills = bank
    trunk = Trunk(base, (), skills.attached)
    trunk.extend(tokens(random.Random(0), 20))
    before = trunk.branch()
    expected = before.feed([5, 6])
    before.close()
    for name in METHODS:
        trunk.branch(author(base, skills, name)).close()
        assert trunk.sequence.cache.length == 20
        again = trunk.branch()
        assert torch.equal(again.feed([5, 6]), expected)
        again.close()


def test_a_context_under_a_full_skill_keeps_its_virtual_tokens(bank: tuple[Base, Bank]) -> None:
    base, skills = bank
    for name in ("prefix-full", "prompt-full"):
        full = FullCaches()
        trunk = Trunk(base, (), skills.attached, full=full)
        trunk.extend(tokens(random.Random(1), 40))
        who = author(base, skills, name)
        first = trunk.branch(who)
        first.feed([7, 8, 9])
        first.close([7, 8, 9])
        assert full.held.count == 1 and full.held.tokens == 43
        second = trunk.branch(who)
        assert second.recomputed == 0
        close(base, second.feed([4]), recomputed(base, skills, who, list(trunk.ids), [4]))
        second.close()
        elsewhere = trunk.fork(30)
        third = elsewhere.branch(who)
        close(base, third.feed([4]), recomputed(base, skills, who, list(elsewhere.ids), [4]))
        third.close()
        other = author(base, skills, "ia3-full")
        assert full.take(other, trunk.ids) is None


def test_forks_keep_virtual_tokens_apart(bank: tuple[Base, Bank]) -> None:
    base, skills = bank
    who = author(base, skills, "prefix")
    held = CachedSequence(Scheduler(base, skills.attached))
    held.begin(who)
    held.feed(who, [5, 6, 7])
    twin = held.fork(2)
    assert (twin.length, twin.virtual, twin.cache.length) == (2, 5, 7)
    mine, theirs = held.feed(who, [9]).states, twin.feed(who, [7]).states
    held.truncate(2)
    assert torch.allclose(held.feed(who, [7]).states, theirs, atol=1e-4) and not torch.equal(mine, theirs)
    held.end()
    assert (held.length, held.virtual, held.cache.length, held.ledger.length) == (0, 0, 0, 0)


@pytest.mark.parametrize("method", METHODS)
def test_an_agent_runs_on_a_skill_of_any_method(
    small: Base, method_skill: Make, method: str, make_runtime: Callable[..., Any]
) -> None:
    bank = Bank(small, slots=2)
    for activation in ("branch", "full"):
        bank.add(method_skill(small, method, activation, activation, seed=5))
    router = make_runtime().router
    runtime = Runtime(small, bank, router)
    agent = Agent(runtime, limits=Limits(step_tokens=12))
    for activation in ("branch", "full"):
        result = agent.run_sync("hello there", policy=Policy(skills=(activation,)))
        again = agent.run_sync("hello there", policy=Policy(skills=(activation,)))
        assert [step.skill for step in result.steps][:1] == [activation]
        assert result.output == again.output


@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_virtual_tokens_that_leave_no_room_are_told(
    small: Base, method_skill: Make, method: str, make_runtime: Callable[..., Any]
) -> None:
    bank = Bank(small, slots=1)
    bank.add(method_skill(small, method, "mine", seed=5))
    chat = small.chat
    tokens = sum(len(chat.message(m.role, m.content)) for m in chat.complete([Message("user", "hello")]))
    least = tokens + len(chat.generation_prompt) + VIRTUAL[method] + 1
    for context in (least - 1, least):
        model = Runtime(small, bank, make_runtime().router, context=context).as_outlines("mine")
        if context < least:
            with pytest.raises(ContextLengthError, match=f"would have {least} tokens"):
                model.generate("hello")
        else:
            assert model.generate("hello")


def test_a_runtime_has_slots_for_the_skills_it_loads(
    small: Base, method_skill: Make, make_runtime: Callable[..., Any], tmp_path: Path
) -> None:
    folders = [
        method_skill(small, "vera", "wide", rank=40).save(tmp_path / "wide"),
        method_skill(small, "lora", "usual").save(tmp_path / "usual"),
        method_skill(small, "prompt", "words").save(tmp_path / "words"),
    ]
    runtime = Runtime.load(small, skills=folders, router=make_runtime().router, slots=2)
    assert [runtime.bank.slot(name) for name in ("usual", "words", "wide")] == [1, 2, 3]
    assert slots_for([4, 16, 40, 64, 200, 200, 200, 999], 2) == {16: 2, 64: 2, 256: 2}
    assert slots_for([], 4) == {16: 4}
