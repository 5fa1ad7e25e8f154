"""Every kind of payload in the C decoder against the torch decoder, beside rows of other kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.base import Row
from loraloop.adapters.payload.attached import BankAttached
from loraloop.adapters.payload.attached_native import NativeAttached
from loraloop.adapters.payload.extras import ExtraSlots
from loraloop.adapters.payload.payload import Payload, PayloadAttached
from loraloop.adapters.payload.slots import HostPayload, SlotStack

Make = Callable[..., Any]
KINDS = ("pairs", "gains", "input_gains", "biases", "prefix", "prompt", "bottlenecks")
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"architecture": "qwen2", "qkv_bias": True},
    "granite": {"architecture": "granite", "embedding_scale": 4.0, "residual_scale": 0.5},
    "mistral": {"architecture": "mistral", "sliding_window": 17},
}
EACH: tuple[tuple[str, ...], ...] = (*((kind,) for kind in KINDS), KINDS)
CONTEXT, BRANCH = list(range(30, 71)), [1, 90, 91, 92, 93]


def ids(count: int, seed: int) -> list[int]:
    return torch.randint(0, 259, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def slots_of(config: Any, payloads: list[Payload], native: bool) -> BankAttached:
    """Payloads in slots 1, 2, …"""
    attached = NativeAttached(len(payloads) + 1, config.layers) if native else BankAttached(len(payloads) + 1)
    extras = ExtraSlots(len(payloads) + 1, torch.device("cpu"))
    dtype = torch.bfloat16 if native else torch.float32
    for slot, payload in enumerate(payloads, start=1):
        prepared = HostPayload.of(payload, dtype, tiled=native)
        stack = SlotStack(config, (slot,), 8, dtype, torch.device("cpu"))
        more = None if prepared.extras is None else extras.load(slot, prepared.extras)
        attached.put(slot, stack.load(slot, prepared), prepared, more)
    return attached


def states(decoder: Any, attached: Any, payloads: list[Payload], rows: list[tuple[int, list[int], list[int]]]) -> Any:
    """Branch states of rows (slot, context, branch), in two forwards: contexts under the base, then all branches."""
    caches = [decoder.new_cache() for _ in rows]
    with torch.no_grad():
        decoder.forward([Row(context, cache) for (_, context, _), cache in zip(rows, caches, strict=True)])
        made = []
        for (slot, _, branch), cache in zip(rows, caches, strict=True):
            payload = payloads[slot - 1] if slot else Payload()
            if payload.prefix:
                cache.extend(payload.prefix)
            made.append(Row(branch, cache, slot, payload.prompt))
        hidden = decoder.forward(made, attached).hidden
    parts, start = [], 0
    for row in made:
        start += len(row.tokens) + (0 if row.before is None else len(row.before))
        parts.append(hidden[start - len(row.tokens) : start])
    return parts


def error(ours: torch.Tensor, exact: torch.Tensor) -> float:
    return float((ours - exact).norm() / exact.norm())


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("kinds", EACH, ids=lambda kinds: kinds[0] if len(kinds) == 1 else "all")
def test_every_kind_is_that_of_torch(config: str, kinds: tuple[str, ...], pair: Make, payload_of: Make) -> None:
    ours, exact = pair("bf16", **CONFIGS[config])
    payload = payload_of(ours.config, kinds, scale=0.1)
    rows = [(1, CONTEXT, BRANCH)]
    made = states(ours, slots_of(ours.config, [payload], native=True), [payload], rows)[0]
    torch_bank = states(exact, slots_of(ours.config, [payload], native=False), [payload], rows)[0]
    trained = states(exact, PayloadAttached(payload), [payload], rows)[0]
    assert error(torch_bank, trained) < 1e-5
    assert error(made, trained) < 0.02
    assert error(states(exact, None, [Payload()], rows)[0], trained) > 0.03, "the payload must matter"


def test_rows_of_all_kinds_in_one_forward_and_a_rows_bits_are_its_own(pair: Make, payload_of: Make) -> None:
    ours, exact = pair("int4")
    payloads = [payload_of(ours.config, kinds, seed, scale=0.1) for seed, kinds in enumerate(EACH)]
    native, plain = (slots_of(ours.config, payloads, which) for which in (True, False))
    rows = [(slot, ids(20 + slot, slot), ids(1 + slot % 3, 50 + slot)) for slot in range(len(payloads) + 1)]
    made, expected = states(ours, native, payloads, rows), states(exact, plain, payloads, rows)
    errors = [error(mine, theirs) for mine, theirs in zip(made, expected, strict=True)]
    assert max(errors) < 0.03, "8-bit activations: 0.016 in the mean"
    assert sum(errors) < 0.02 * len(errors)
    bare = states(ours, None, payloads, [(0, context, branch) for _, context, branch in rows])
    assert torch.equal(made[0], bare[0]), "slot 0 has the bits of a base without adapters"
    for own, row in enumerate(rows):  # at one shape, other neighbours: other tokens, other slots
        others = [
            row
            if at == own
            else (slot if slot in (6, 8) else 1 + (at + own) % 3, ids(len(c), 90 + at), ids(len(b), at))
            for at, (slot, c, b) in enumerate(rows)
        ]
        assert torch.equal(states(ours, native, payloads, others)[own], made[own])


@settings(max_examples=12, deadline=None)
@given(kinds=st.sampled_from(EACH), cuts=st.lists(st.integers(1, 20), min_size=1, max_size=4), seed=st.integers(0, 9))
def test_reused_keys_and_values_are_recomputed_ones(
    kinds: tuple[str, ...], cuts: list[int], seed: int, pair: Make, payload_of: Make
) -> None:
    """A branch fed piece by piece, with pieces that are taken back between, is one that is fed at once."""
    ours, _ = pair("int8")
    payload = payload_of(ours.config, kinds, seed, scale=0.1)
    attached = slots_of(ours.config, [payload], native=True)
    branch = ids(sum(cuts), seed)
    expected = states(ours, attached, [payload], [(1, CONTEXT, branch)])[0]
    cache, parts, at = ours.new_cache(16), [], 0
    ours.forward([Row(CONTEXT, cache)])
    if payload.prefix:
        cache.extend(payload.prefix)
    if payload.prompt is not None:
        ours.forward([Row([], cache, 1, payload.prompt)], attached)
    assert cache.length == len(CONTEXT) + payload.virtual
    for cut in cuts:
        ours.forward([Row(ids(5, at), cache, 1)], attached)
        cache.truncate(len(CONTEXT) + payload.virtual + at)
        parts.append(ours.forward([Row(branch[at : at + cut], cache, 1)], attached).hidden)
        at += cut
    assert error(torch.cat(parts), expected) < 2e-2


def test_a_swap_never_moves_a_tensor_and_leaves_nothing_behind(pair: Make, payload_of: Make) -> None:
    ours, _ = pair("bf16")
    extras, attached = ExtraSlots(2, torch.device("cpu")), NativeAttached(2, ours.config.layers)
    stack = SlotStack(ours.config, (1,), 8, torch.bfloat16, torch.device("cpu"))

    def swap(kinds: tuple[str, ...], seed: int) -> Payload | None:
        prepared = HostPayload.of(payload_of(ours.config, kinds, seed), torch.bfloat16, tiled=True)
        more = None if prepared.extras is None else extras.load(1, prepared.extras)
        attached.put(1, stack.load(1, prepared), prepared, more)
        return more

    def addresses(payload: Payload) -> list[int]:
        module = payload.bottlenecks[1, "mlp"]
        assert payload.prompt is not None
        tensors = [payload.gains[0, "o"], payload.biases[1, "qkv"], payload.input_gains[0, "down"], payload.prompt]
        return [t.data_ptr() for t in (*tensors, *payload.prefix[1], module.down, module.up)]

    first = swap(KINDS, 0)
    assert first is not None
    before, size, gain = addresses(first), extras.bytes, first.gains[0, "o"].clone()
    rows = [(1, CONTEXT, BRANCH)]
    assert swap(("pairs",), 1) is None and 1 not in attached.extras
    fresh = slots_of(ours.config, [lora := payload_of(ours.config, ("pairs",), 1)], native=True)
    assert torch.equal(states(ours, attached, [lora], rows)[0], states(ours, fresh, [lora], rows)[0])
    second = swap(KINDS, 2)
    assert second is not None and addresses(second) == before and extras.bytes == size
    assert not torch.equal(second.gains[0, "o"], gain)
    attached.clear(1)
    bare = states(ours, None, [Payload()], [(0, CONTEXT, BRANCH)])[0]
    assert torch.equal(states(ours, attached, [Payload()], rows)[0], bare)
