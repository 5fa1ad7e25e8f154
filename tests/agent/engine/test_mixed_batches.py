"""Rule 2 for a batch as it is served: eight rows decode together, each in its own slot or on the base alone."""

from __future__ import annotations

import random

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, Row

ROWS, STEPS = 8, 3
LENGTHS = (1, 1, 5, 16, 2, 1, 9, 33)
"""Tokens that each row brings at the first step, as grammars force them; after that one each."""
TOLERANCE = {"atol": 2e-4, "rtol": 1e-4}


def slots_of(bank: Bank) -> list[int]:
    return [0, *(bank.slot(name) for name in ("tools", "code", "retrieval", "prose"))]


def decode(base: Base, bank: Bank, rows: list[int], slots: list[int]) -> list[torch.Tensor]:
    """Hidden states of some of the eight rows, decoded together; row r has the same tokens and context every time.

    The context is the bare base's, as a trunk is.
    """
    caches, outs = [], [[] for _ in rows]
    for row in rows:
        rng = random.Random(row)
        cache = base.new_cache()
        base.forward([Row([rng.randrange(3, 259) for _ in range(10 + 7 * row)], cache)])
        caches.append(cache)
    for step in range(STEPS):
        batch = []
        for at, row in enumerate(rows):
            rng = random.Random(100 * row + step)
            tokens = [rng.randrange(3, 259) for _ in range(LENGTHS[row] if step == 0 else 1)]
            batch.append(Row(tokens, caches[at], slots[at]))
        hidden = base.forward(batch, attached=bank.attached).hidden
        for out, part in zip(outs, hidden.split([len(row.tokens) for row in batch]), strict=True):
            out.append(part)
    return [torch.cat(out) for out in outs]


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_row_among_eight_depends_on_its_own_slot_alone(small: Base, small_bank: Bank, data: st.DataObject) -> None:
    known = slots_of(small_bank)
    pick = st.sampled_from(known)
    mine = data.draw(st.integers(0, ROWS - 1), label="row")
    first = data.draw(st.lists(pick, min_size=ROWS, max_size=ROWS), label="slots")
    second = data.draw(st.lists(pick, min_size=ROWS, max_size=ROWS), label="other slots")
    second[mine] = first[mine]
    every = list(range(ROWS))
    found = decode(small, small_bank, every, first)[mine]
    assert torch.equal(decode(small, small_bank, every, second)[mine], found), "neighbours' slots changed the bits"
    if first[mine] == 0:
        assert torch.equal(decode(small, small_bank, every, [0] * ROWS)[mine], found), "slot 0 is the bare base"
    torch.testing.assert_close(decode(small, small_bank, [mine], [first[mine]])[0], found, **TOLERANCE)


def test_every_row_gets_its_own_skill(small: Base, small_bank: Bank) -> None:
    """One row on every slot in one batch: no two results are alike, each is that of its slot."""
    known = slots_of(small_bank)
    context, tokens = [5, 9, 77, 30, 41], [60, 61, 62]

    def run(slots: list[int]) -> list[torch.Tensor]:
        rows = []
        for slot in slots:
            cache = small.new_cache()
            small.forward([Row(context, cache)])
            rows.append(Row(tokens, cache, slot))
        return list(small.forward(rows, attached=small_bank.attached).hidden.split(len(tokens)))

    together = run(known)
    for at, slot in enumerate(known):
        torch.testing.assert_close(together[at], run([slot])[0], **TOLERANCE)
        for other in together[at + 1 :]:
            assert (together[at] - other).abs().max() > 0.01
