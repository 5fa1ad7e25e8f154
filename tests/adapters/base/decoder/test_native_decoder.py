"""The C decoder against the torch decoder on the same values in fp32, and the rules that a forward keeps."""

from __future__ import annotations

import mmap
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloop.adapters.base import Base, KVCache, NativeCache, Row, random_base
from loraloop.adapters.base.decoder.decoder import Decoder
from loraloop.adapters.base.decoder.native_cache import PagePool, distinct
from loraloop.adapters.base.decoder.native_decoder import NativeDecoder, serves
from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.payload.attached import BankAttached
from loraloop.adapters.payload.attached_native import NativeAttached
from loraloop.adapters.payload.slots import HostPayload, SlotStack
from loraloop.kernels.cpu import native
from tests.kernels.test_native import LEVELS, built

Pair = Callable[..., tuple[NativeDecoder, Decoder]]
KINDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "untied, one key head": {"tied_embeddings": False, "kv_heads": 1},
    "wide heads": {"heads": 2, "head_dim": 64},
    "mistral": {"architecture": "mistral", "sliding_window": 37},
    "qwen2": {"architecture": "qwen2", "qkv_bias": True},
    "qwen3": {"architecture": "qwen3", "qk_norm": True},
    "granite": {
        "architecture": "granite", "embedding_scale": 4.0, "attention_scale": 0.1, "residual_scale": 0.5,
        "logits_scale": 2.0,
    },
}  # fmt: skip
CLOSE = {"int4": 0.03, "int8": 0.03, "bf16": 0.02}
"""Largest relative error (norms) of logits: keys, values and dense copies are bf16, activations 8 bits (bf16's: 16)."""


def adapters(decoder: NativeDecoder, ranks: tuple[int, ...]) -> tuple[NativeAttached, BankAttached]:
    """Random skills of these ranks in slots 1, 2, …, equal in both: for the C decoder, and in fp32 for torch."""
    config, count = decoder.config, len(ranks) + 1
    ours, theirs = NativeAttached(count, config.layers), BankAttached(count)
    for slot, rank in enumerate(ranks, start=1):
        targets = ("q_proj", "v_proj", "o_proj", "up_proj", "down_proj") if slot % 2 else ("gate_proj", "k_proj")
        method = Lora(rank, 2.0 * rank, targets)
        generator = torch.Generator().manual_seed(slot)
        made = method.init(MethodContext(config))
        drawn = {name: torch.randn(v.shape, generator=generator) * 0.05 for name, v in made.items()}
        tensors = {name: value.bfloat16() for name, value in drawn.items()}
        for attached, dtype in ((ours, torch.bfloat16), (theirs, torch.float32)):
            payload = method.payload({n: t.to(dtype) for n, t in tensors.items()}, MethodContext(config))
            prepared = HostPayload.of(payload, tiled=attached is ours)
            stack = SlotStack(config, (slot,), 64, dtype, torch.device("cpu"))
            attached.put(slot, stack.load(slot, prepared), prepared)
    return ours, theirs


def _prepared(decoder: NativeDecoder, rank: int) -> HostPayload:
    method = Lora(rank, 2.0 * rank, ("gate_proj", "k_proj"))
    context = MethodContext(decoder.config)
    return HostPayload.of(method.payload(method.init(context), context), torch.bfloat16, tiled=True)


def ids(count: int, seed: int = 0) -> list[int]:
    return torch.randint(0, 259, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def error(ours: torch.Tensor, exact: torch.Tensor) -> float:
    return float((ours - exact).norm() / exact.norm())


@pytest.mark.parametrize("form", ["int4", "int8", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_kept_states_are_those_of_torch(kind: str, form: str, pair: Pair) -> None:
    ours, exact = pair(form, **KINDS[kind])
    tokens = ids(90)
    cache, reference = ours.new_cache(16), exact.new_cache()
    for start, end in ((0, 50), (50, 51), (51, 57), (57, 90)):
        mine = ours.forward([Row(tokens[start:end], cache)], keep=(0, 1, 2))
        theirs = exact.forward([Row(tokens[start:end], reference)], keep=(0, 1, 2))
        assert error(ours.logits(mine.hidden), exact.logits(theirs.hidden)) < CLOSE[form]
        for layer in (0, 1, 2):
            assert error(mine.kept[layer], theirs.kept[layer]) < CLOSE[form]
    assert cache.length == reference.length == 90
    for layer in (0, 1):
        for mine, theirs in zip(cache.planes(layer), (reference.keys, reference.values), strict=True):
            assert error(mine, theirs[layer][0, :, :90]) < CLOSE[form]


@pytest.mark.parametrize("form", ["int4", "bf16"])
@pytest.mark.parametrize("level", LEVELS)
def test_slots_are_those_of_torch_on_every_class_of_processors(level: str, form: str, pair: Pair) -> None:
    ours, exact = pair(form, library=built(level))
    mine, theirs = adapters(ours, (4, 17, 8))
    slots = (1, 0, 2, 3, 3, 2)
    contexts, branches = [ids(20 + 31 * i, i) for i in range(6)], [ids(count, 9) for count in (1, 5, 2, 19, 1, 40)]

    def run(decoder: NativeDecoder | Decoder, attached: Any) -> torch.Tensor:
        caches = [decoder.new_cache() for _ in slots]
        decoder.forward([Row(tokens, cache) for tokens, cache in zip(contexts, caches, strict=True)])
        rows = [Row(*row) for row in zip(branches, caches, slots, strict=True)]
        return decoder.forward(rows, attached).hidden

    changed = run(ours, mine)
    assert error(changed, run(exact, theirs)) < CLOSE[form]
    assert error(run(ours, None), changed) > 0.05, "the skills must matter for this test to mean anything"


@settings(max_examples=15, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    kind=st.sampled_from(list(KINDS)),
    seed=st.integers(0, 20),
)
def test_reused_keys_and_values_are_recomputed_ones(cuts: list[int], kind: str, seed: int, pair: Pair) -> None:
    """However a context arrives, piece by piece or at once, and after whatever was truncated away."""
    decoder, _ = pair("int4", **KINDS[kind])
    tokens = ids(sum(cuts), seed)
    whole = decoder.new_cache()
    expected = decoder.forward([Row(tokens, whole)]).hidden
    cache, parts, at = decoder.new_cache(16), [], 0
    for cut in cuts:
        decoder.forward([Row(ids(7, at), cache)])
        cache.truncate(at)
        parts.append(decoder.forward([Row(tokens[at : at + cut], cache)]).hidden)
        at += cut
    assert error(torch.cat(parts), expected) < 2e-2  # softmax weights are bf16, and other pieces are summed


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(list(KINDS)),
    form=st.sampled_from(["int4", "int8", "bf16"]),
    context=st.one_of(st.integers(0, 40), st.integers(246, 264), st.integers(500, 516)),
    count=st.integers(2, 8),
    slot=st.sampled_from([0, 1, 2]),
    threads=st.sampled_from([1, 2]),
)
def test_a_few_tokens_have_the_bits_of_one_after_another(
    kind: str, form: str, context: int, count: int, slot: int, threads: int, pair: Pair
) -> None:
    """Up to eight tokens of a row: their states, and what the cache holds of them. Drafts rest on this."""
    decoder, _ = pair(form, **KINDS[kind])
    attached, _ = adapters(decoder, (4, 17))
    tokens, before = ids(context + count, context), torch.get_num_threads()

    def run(size: int) -> tuple[torch.Tensor, NativeCache]:
        cache = decoder.new_cache()
        if context:
            decoder.forward([Row(tokens[:context], cache)])
        parts = [tokens[at : at + size] for at in range(context, context + count, size)]
        return torch.cat([decoder.forward([Row(part, cache, slot)], attached).hidden for part in parts]), cache

    torch.set_num_threads(threads)
    try:
        (one, alone), (few, together) = run(1), run(count)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one, few)
    for layer in range(decoder.config.layers):
        assert all(map(torch.equal, alone.planes(layer), together.planes(layer)))


def test_a_rows_bits_are_its_own(pair: Pair) -> None:
    """At one batch shape a row's bits do not depend on its neighbours' tokens, caches or skills, or on threads."""
    decoder, _ = pair("int4")
    attached, _ = adapters(decoder, (4, 16))
    lengths = (1, 3, 1, 30, 1)

    def run(threads: int, seed: int, slots: tuple[int, ...]) -> torch.Tensor:
        caches = [decoder.new_cache() for _ in lengths]
        decoder.forward([Row(ids(40, 5 if i == 2 else seed + i), cache) for i, cache in enumerate(caches)])
        rows = [
            Row(ids(count, 7 if i == 2 else seed), cache, slot)
            for i, (count, cache, slot) in enumerate(zip(lengths, caches, slots, strict=True))
        ]
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            return decoder.forward(rows, attached).hidden[4]
        finally:
            torch.set_num_threads(before)

    expected = run(1, 0, (0, 0, 1, 0, 0))
    for threads, seed, slots in ((2, 1, (1, 2, 1, 2, 0)), (3, 2, (2, 0, 1, 2, 2))):
        assert torch.equal(run(threads, seed, slots), expected)


def test_slot_0_has_the_bits_of_a_base_without_adapters(pair: Pair) -> None:
    decoder, _ = pair("int8")
    attached, _ = adapters(decoder, (8,))
    with_bank = decoder.forward([Row(ids(30), decoder.new_cache(), 0), Row(ids(9), decoder.new_cache(), 1)], attached)
    alone = decoder.forward([Row(ids(30), decoder.new_cache()), Row(ids(9), decoder.new_cache())])
    assert torch.equal(with_bank.hidden[:30], alone.hidden[:30])
    assert not torch.equal(with_bank.hidden[30:], alone.hidden[30:])


def test_an_empty_slot_is_the_bare_base(pair: Pair) -> None:
    decoder, _ = pair()
    attached, _ = adapters(decoder, (4, 4))
    attached.clear(1)
    cleared = decoder.forward([Row(ids(5), decoder.new_cache(), 1)], attached).hidden
    assert torch.equal(cleared, decoder.forward([Row(ids(5), decoder.new_cache())]).hidden)


def test_a_fork_grows_apart_and_a_truncated_cache_is_as_before(pair: Pair) -> None:
    decoder, _ = pair("int8")
    cache = decoder.new_cache(16)
    decoder.forward([Row(ids(33), cache)])
    fork = cache.fork()
    assert fork.pages[0] is cache.pages[0], "a fork copies nothing"
    decoder.forward([Row(ids(4, 1), fork)])
    assert (cache.length, fork.length) == (33, 37) and fork.pages[0] is not cache.pages[0]
    expected = decoder.forward([Row(ids(3, 2), cache)]).hidden
    cache.truncate(33)
    decoder.forward([Row(ids(20, 3), cache)])
    cache.truncate(33)
    assert torch.equal(decoder.forward([Row(ids(3, 2), cache)]).hidden, expected)
    with pytest.raises(ValueError, match="cannot truncate a cache of 36 tokens to 40"):
        cache.truncate(40)


@pytest.mark.parametrize("length", [5, 16, 33])
def test_what_a_poisoned_branch_leaves_is_never_read(pair: Pair, length: int) -> None:
    """A skill of infinite weights fills its branch with NaN; what comes after the branch was dropped is as before."""
    decoder, _ = pair("int8")
    attached, _ = adapters(decoder, (4,))
    for shrink, expand in attached.views[1].values():
        shrink.fill_(3e38)
        expand.fill_(3e38)
    caches = [decoder.new_cache(16) for _ in range(2)]
    for cache in caches:
        decoder.forward([Row(ids(length), cache)])
    poisoned = decoder.forward([Row(ids(40, 1), caches[0], 1)], attached).hidden
    assert not poisoned.isfinite().all()
    caches[0].truncate(length)
    for cache in (caches[0].fork(), caches[0]):
        follows = caches[1].fork()
        for count in (1, 2, 9, 20):
            ours = decoder.forward([Row(ids(count, count), cache)]).hidden
            assert torch.equal(ours, decoder.forward([Row(ids(count, count), follows)]).hidden)


def test_forks_hold_the_same_pages_and_only_their_own_last_one(pair: Pair) -> None:
    decoder, _ = pair("int8")
    trunk = decoder.new_cache()
    decoder.forward([Row(ids(200), trunk)])
    forks = [trunk.fork() for _ in range(8)]
    assert distinct([trunk, *forks])[1] == trunk.nbytes == 2 * decoder._pages.bytes
    found = [decoder.forward([Row(ids(3, seed), fork)]).hidden for seed, fork in enumerate(forks)]
    assert distinct([trunk, *forks])[1] == trunk.nbytes + 8 * decoder._pages.bytes
    assert all(fork.pages[:1] == trunk.pages[:1] for fork in forks)
    for seed, states in enumerate(found):
        alone = decoder.new_cache()
        decoder.forward([Row(ids(200), alone)])
        assert torch.equal(decoder.forward([Row(ids(3, seed), alone)]).hidden, states)
    forks[0].truncate(130)
    decoder.forward([Row(ids(40, 9), forks[0])])
    assert torch.equal(trunk.planes(0)[0], forks[1].planes(0)[0][:, :200]), "what is shared is never written to"


def test_pages_are_used_again_and_are_clean_then(pair: Pair) -> None:
    decoder, _ = pair("int8")
    cache = decoder.new_cache()
    decoder.forward([Row(ids(500), cache)])
    places = {page.data.data_ptr() for page in cache.pages}
    for page in cache.pages:
        page.data.fill_(float("nan"))
    cache.truncate(0)
    again = decoder.new_cache(512)
    assert len(places & {page.data.data_ptr() for page in again.pages}) >= 3
    assert all(not page.data.any() for page in again.pages)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is kept")
def test_memory_of_pages_that_nobody_holds_goes_back_to_the_system() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    pool, before = PagePool(32, 4, 64), resident()
    pages = [pool.page() for _ in range(40)]
    for page in pages:
        page.data.fill_(1.0)
    assert resident() - before > 39 * pool.bytes
    del page, pages
    assert resident() - before < (pool.SPARE + 4) * pool.bytes
    again = [pool.page() for _ in range(40)]
    assert not any(page.data.any() for page in again)
    assert len({page.data.data_ptr() for page in again}) == 40


def test_a_cache_that_lives_as_long_as_the_program_ends_in_silence() -> None:
    code = """
import torch
from loraloop.adapters.base import Base, Row
import loraloop
base = Base.load("smollm2-135m")
cache = base.new_cache()
base.forward([Row([5] * 300, cache)])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr == ""


def test_what_a_forward_holds_of_a_slot_does_not_change(pair: Pair) -> None:
    """Another thread may load a slot meanwhile: the pointers that a forward took stay those of one skill."""
    decoder, _ = pair()
    attached, _ = adapters(decoder, (4, 8))
    held = attached.tables[1]
    before = bytes(held._places), bytes(held._pairs)
    attached.put(1, attached.views[2], _prepared(decoder, 8))
    attached.clear(1)
    assert (bytes(held._places), bytes(held._pairs)) == before
    assert not any(attached.tables[1]._places), "an empty slot points to nothing"


def test_strangers_are_refused(pair: Pair) -> None:
    decoder, exact = pair()
    with pytest.raises(TypeError, match="new_cache"):
        decoder.forward([Row([1], exact.new_cache())])
    with pytest.raises(TypeError, match="new_cache"):
        exact.forward([Row([1], decoder.new_cache())])
    with pytest.raises(TypeError, match="slots"):
        decoder.forward([Row([1], decoder.new_cache(), 1)], BankAttached(2))
    with pytest.raises(ValueError, match="at least one token"):
        decoder.forward([Row([], decoder.new_cache())])
    shared = decoder.new_cache()
    with pytest.raises(ValueError, match="one cache"):
        decoder.forward([Row([1], shared), Row([2], shared)])
    cache = decoder.new_cache()
    for token in (-1, 259):
        with pytest.raises(ValueError, match=r"0\.\.258"):
            decoder.forward([Row([token], cache)])
    assert cache.length == 0 and decoder.forward([Row([258], cache)]).hidden.isfinite().all()


def test_odd_dimensions_are_left_to_torch(pair: Pair) -> None:
    assert serves(pair()[0].config)
    for odd in ({"hidden_size": 40}, {"intermediate_size": 48}, {"head_dim": 16}):
        assert not serves(random_base(**{"hidden_size": 64, "intermediate_size": 96, "head_dim": 32, **odd}).config)


def test_the_default_base_is_served_by_it(base: Base) -> None:
    assert base.native == native.has_compiler()
    assert isinstance(base.new_cache(), NativeCache if base.native else KVCache)
