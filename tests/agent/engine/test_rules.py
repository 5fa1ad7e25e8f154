"""Rules 1 to 4 of the design, on random bases and random skills."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, Message, Row, random_base
from loraloop.adapters.skill.skill import Skill
from loraloop.agent.engine.cache.ledger import Author, LedgerError
from loraloop.agent.engine.cache.sequence import CachedSequence
from loraloop.agent.engine.scheduler import Scheduler
from loraloop.agent.engine.trunk import Trunk

TOLERANCE = {"atol": 2e-4, "rtol": 1e-4}  # fp32: chunks of another shape add in another order


def author(base: Base, bank: Bank, name: str) -> Author:
    if name == "none":
        return Author(base.fingerprints.weights)
    return Author(base.fingerprints.weights, name, bank.slot(name), bank.card(name).activation, name)


def tokens(rng: random.Random, count: int) -> list[int]:
    return [rng.randrange(3, 259) for _ in range(count)]


def recomputed(base: Base, bank: Bank, who: Author, context: list[int], branch: list[int]) -> torch.Tensor:
    """Logits after every token of `branch`, computed from nothing."""
    cache = base.new_cache()
    start = who.slot if who.activation == "full" else 0
    base.forward([Row(context, cache, slot=start)], attached=bank.attached)
    return base.logits(base.forward([Row(branch, cache, slot=who.slot)], attached=bank.attached).hidden)


@pytest.mark.parametrize("seed", range(4))
def test_reused_keys_and_values_equal_recomputed_ones_in_any_order_of_skills(
    small: Base, small_bank: Bank, seed: int
) -> None:
    rng = random.Random(seed)
    trunk = Trunk(small, (1,), small_bank.attached, chunk=16)
    trunk.append(Message("user", "x"), tokens(rng, 40))
    for _ in range(8):
        name = rng.choice([*small_bank.names, "none"])
        who = author(small, small_bank, name)
        context, ids = list(trunk.ids), tokens(rng, rng.randrange(2, 12))
        expected = recomputed(small, small_bank, who, context, ids)
        branch = trunk.branch(who)
        cut = rng.randrange(1, len(ids))
        torch.testing.assert_close(branch.feed(ids[:cut]), expected[cut - 1], **TOLERANCE)
        torch.testing.assert_close(branch.feed(ids[cut:]), expected[-1], **TOLERANCE)
        if rng.random() < 0.7:
            branch.close(ids, Message("assistant", "y"))
            trunk.append(Message("tool", "z"), tokens(rng, rng.randrange(1, 30)))
        else:
            branch.close()
            assert trunk.ids == context
    assert {span.author.skill for span in trunk.sequence.ledger.spans} == {""}


def test_a_branch_leaves_the_trunk_bit_for_bit_as_it_was(small: Base, small_bank: Bank) -> None:
    rng = random.Random(0)
    trunk = Trunk(small, (), small_bank.attached)
    trunk.extend(tokens(rng, 30))
    first = trunk.branch()
    before = first.feed([5, 6, 7])
    first.close()
    for name in small_bank.names:
        branch = trunk.branch(author(small, small_bank, name))
        branch.feed(tokens(rng, 5))
        branch.close()
    again = trunk.branch()
    assert torch.equal(before, again.feed([5, 6, 7]))


def test_slot_zero_is_bit_identical_to_a_base_that_never_had_adapters(make_skill: Callable[..., Skill]) -> None:
    rng = random.Random(1)
    prompt, more = tokens(rng, 50), tokens(rng, 4)
    plain = Trunk(random_base(seed=5), (1, 2))
    plain.append(Message("user", "x"), prompt)
    expected = plain.branch().feed(more)

    base = random_base(seed=5)
    bank = Bank(base, slots=2)
    bank.add(make_skill(base, "one"))
    trunk = Trunk(base, (1, 2), bank.attached)
    trunk.append(Message("user", "x"), prompt)
    branch = trunk.branch(author(base, bank, "one"))
    branch.feed(more)
    branch.close()
    assert torch.equal(trunk.branch().feed(more), expected)
    for layer, states in trunk_features(plain).items():
        assert torch.equal(states, trunk_features(trunk)[layer])


def trunk_features(trunk: Trunk) -> dict[int, torch.Tensor]:
    if trunk._open is not None:
        trunk._open.close()
    return trunk.features()


def test_a_row_depends_on_its_own_slot_alone(small: Base, small_bank: Bank) -> None:
    rng = random.Random(2)
    context, ids = tokens(rng, 20), tokens(rng, 5)
    slots = [0, *(small_bank.slot(name) for name in small_bank.names[:4])]

    def run(order: list[int]) -> torch.Tensor:
        rows = []
        for slot in order:
            cache = small.new_cache()
            small.forward([Row(context, cache)])
            rows.append(Row(ids, cache, slot=slot))
        return small.forward(rows, attached=small_bank.attached).hidden.view(len(order), len(ids), -1)

    mine = run([slots[1], slots[2], slots[3]])[0]
    for others in ([slots[0], slots[0]], [slots[4], slots[1]], [slots[3], slots[2]]):
        assert torch.equal(run([slots[1], *others])[0], mine)


def test_switching_moves_no_tensor(small: Base, make_skill: Callable[..., Skill]) -> None:
    bank = Bank(small, slots=2)
    for seed in range(4):
        bank.add(make_skill(small, f"s{seed}", seed=seed))
    stacks = [t for stack in bank._stacks for part in (stack.A, stack.B) for t in part.values()]
    places = [t.data_ptr() for t in stacks]
    trunk = Trunk(small, (), bank.attached)
    trunk.extend(tokens(random.Random(3), 20))
    for seed in (0, 1, 2, 3, 0, 3):
        branch = trunk.branch(author(small, bank, f"s{seed}"))
        branch.feed([7, 8])
        branch.close()
        assert [t.data_ptr() for t in stacks] == places


def test_the_ledger_refuses_what_another_skill_computed(small: Base, small_bank: Bank) -> None:
    one, two = author(small, small_bank, "tools"), author(small, small_bank, "code")
    bare, full = Author(small.fingerprints.weights), author(small, small_bank, "whole")
    held = CachedSequence(Scheduler(small, small_bank.attached))
    held.feed(bare, [5, 6, 7])
    held.feed(one, [8])
    held.feed(one, [9])
    for reader, place in ((two, "3 to 5"), (bare, "3 to 5"), (full, "0 to 3")):
        with pytest.raises(LedgerError, match=f"positions {place} were computed by"):
            held.feed(reader, [10])
    held.truncate(3)
    held.feed(two, [10])
    with pytest.raises(LedgerError, match="positions 0 to 3"):
        held.truncate(3)
        held.feed(full, [10])
    with pytest.raises(LedgerError):
        held.feed(Author("other weights"), [10])


def test_one_skill_with_other_weights_is_another_author(small: Base) -> None:
    weights = small.fingerprints.weights
    old, new = Author(weights, "x", 1, adapter="a"), Author(weights, "x", 1, adapter="b")
    assert not new.may_read(old)
    assert new.may_read(Author(weights, "x", 2, adapter="a")) is False
    assert new.may_read(Author(weights, "x", 2, adapter="b"))
