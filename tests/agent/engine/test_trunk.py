"""The trunk: lazy prefill, hidden states, forks, the context's end, and trunks kept between runs."""

from __future__ import annotations

import random

import pytest
import torch

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, Message
from loraloop.agent.engine.cache.ledger import Author
from loraloop.agent.engine.timer import Clock
from loraloop.agent.engine.trunk import Trunk, TrunkStore
from loraloop.tool_schemas.errors import ContextLengthError


def filled(base: Base, *texts: str, **options: object) -> Trunk:
    trunk = Trunk(base, (1,), **options)
    for text in texts:
        trunk.append(Message("user", text), base.chat.message("user", text))
    return trunk


def test_nothing_is_computed_before_it_is_needed(small: Base) -> None:
    trunk = filled(small, "one", "two")
    assert trunk.pending == len(trunk.ids)
    clock = Clock()
    assert trunk.flush(clock) == len(trunk.ids)
    assert trunk.pending == 0 and clock.milliseconds()["prefill"] > 0
    assert trunk.flush() == 0


@pytest.mark.parametrize("chunk", [3, 16, 512])
def test_features_are_the_last_messages_states_in_any_chunks(small: Base, chunk: int) -> None:
    trunk = filled(small, "some context", "a question", chunk=chunk)
    span = trunk.messages[-1]
    states = trunk.features()[1]
    assert states.shape == (span.end - span.start, small.config.hidden_size)
    whole = filled(small, "some context", "a question")
    torch.testing.assert_close(states, whole.features()[1], atol=2e-4, rtol=1e-4)


def test_a_group_keeps_the_states_of_each_of_its_messages(small: Base) -> None:
    trunk = filled(small, "context")
    for index, text in enumerate(("first", "second")):
        trunk.append(Message("tool", text), small.chat.message("tool", text), more=index > 0)
    for at in (-2, -1):
        span = trunk.messages[at]
        assert len(trunk.features(at)[1]) == span.end - span.start
    with pytest.raises(ValueError, match="not kept"):
        trunk.features(0)


def test_a_bare_branch_is_trunk_already(small: Base) -> None:
    trunk = filled(small, "hello")
    branch = trunk.branch()
    branch.feed([5, 6])
    branch.feed([7])
    branch.close([5, 6, 7, 8], Message("assistant", "x"))
    assert trunk.pending == 1  # only the token that was never fed
    assert trunk.messages[-1].message == Message("assistant", "x")


def test_a_skills_branch_is_recomputed_by_the_base_with_what_follows(small: Base, small_bank: Bank) -> None:
    trunk = filled(small, "hello", attached=small_bank.attached)
    length = len(trunk.ids)
    branch = trunk.branch(Author(small.fingerprints.weights, "tools", small_bank.slot("tools")))
    branch.feed([5, 6])
    branch.close([5, 6, 7], Message("assistant", "x"))
    trunk.append(Message("tool", "y"), [9, 10])
    assert trunk.pending == 5 and trunk.sequence.length == length


def test_full_activation_keeps_its_own_cache_and_says_what_it_computed(small: Base, small_bank: Bank) -> None:
    trunk = filled(small, "hello there", attached=small_bank.attached)
    length = len(trunk.ids)
    who = Author(small.fingerprints.weights, "whole", small_bank.slot("whole"), "full", "w")
    branch = trunk.branch(who)
    assert branch.prefilled == 2 * length  # once for the trunk, once under the skill
    branch.feed([5, 6])
    branch.close([5, 6], Message("assistant", "x"))
    trunk.append(Message("user", "again"), [11, 12, 13])
    branch = trunk.branch(who)
    assert branch.prefilled == 5 + 3  # its own tokens were still valid for itself
    branch.close()


def test_an_open_branch_holds_the_trunk(small: Base) -> None:
    trunk = filled(small, "hello")
    branch = trunk.branch()
    with pytest.raises(RuntimeError, match="close it first"):
        trunk.extend([5])
    branch.close()
    branch.close()
    trunk.extend([5])


def test_the_contexts_end_is_an_error_that_says_lengths(small: Base) -> None:
    trunk = filled(small, "hello", context=60)
    length = len(trunk.ids)
    with pytest.raises(ContextLengthError, match=rf"{length + 60} tokens .* holds 60: shorten"):
        trunk.extend([5] * 60)
    assert len(trunk.ids) == length


def test_a_trunk_that_goes_on_leaves_the_store_and_one_that_parts_is_copied(small: Base) -> None:
    store = TrunkStore()
    trunk = filled(small, "a common beginning", "first")
    trunk.flush()
    store.put(trunk)
    common, first, second = (Message("user", text) for text in ("a common beginning", "first", "second"))
    parted = store.take([common, second])
    assert parted is not None and parted is not trunk
    assert [span.message for span in parted.messages] == [common]
    assert store.take([common, first]) is trunk
    assert store.take([common, first]) is None
    parted.append(second, small.chat.message("user", "second"))
    expected = filled(small, "a common beginning", "second").features()[1]
    torch.testing.assert_close(parted.features()[1], expected, atol=2e-4, rtol=1e-4)


def test_the_store_forgets_the_oldest_trunks(small: Base) -> None:
    rng = random.Random(0)
    store = TrunkStore(tokens=200)
    for _ in range(10):
        store.put(filled(small, "x" * rng.randrange(20, 80)))
        assert 0 < store.held.tokens <= store.held.positions <= 200
