"""Decoding under CUDA graphs: captured once for each kind of step, and the same states as the decoder's own forward."""

from __future__ import annotations

import dataclasses
import threading

import pytest
import torch

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, Row
from loraloop.adapters.base.decoder.cuda_graphs import GraphedDecoder
from loraloop.adapters.base.decoder.decoder import Decoder
from loraloop.adapters.base.loading.convert import Converted
from loraloop.adapters.base.random_weights import random_base
from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.skill.card import Card
from loraloop.adapters.skill.skill import Skill
from loraloop.kernels.nf4 import Nf4Weight
from loraloop.kernels.quantized import DenseWeight

DEVICE = "cuda"
SHAPE = {"hidden_size": 256, "intermediate_size": 512, "layers": 3, "heads": 8, "kv_heads": 2, "head_dim": 32}


def gpu_base(form: str, device: str = DEVICE) -> Base:
    """A random base in bf16 on the GPU, its projections dense or in NF4."""
    base = random_base(1, dtype=torch.bfloat16, scale=0.08, **SHAPE)
    own = base.decoder

    def moved(weight: DenseWeight) -> DenseWeight | Nf4Weight:
        values = weight.values.to(device)
        return Nf4Weight.quantize(values) if form == "nf4" else DenseWeight(values)

    layers = [
        dataclasses.replace(
            layer, attention_norm=layer.attention_norm.to(device), mlp_norm=layer.mlp_norm.to(device),
            **{group: moved(getattr(layer, group)) for group in ("qkv", "o", "gate_up", "down")},
        )
        for layer in own.layers
    ]  # fmt: skip
    embedding = DenseWeight(own.embedding.values.to(device))
    decoder = GraphedDecoder(
        own.config, embedding, layers, own.norm.to(device), embedding, own.dtype, torch.device(device)
    )
    card = Converted("random", "bf16", own.config, base.chat.format, (0,), base.fingerprints, "")
    return Base(card, decoder, base.tokenizer)


def skill(base: Base, name: str, seed: int, rank: int, targets: tuple[str, ...]) -> Skill:
    torch.manual_seed(seed)
    made = Lora(rank, 8, targets).init(MethodContext(base.config))
    tensors = {key: torch.randn(value.shape) * 0.1 for key, value in made.items()}
    prints = {"architecture": base.fingerprints.architecture, "weights": base.fingerprints.weights}
    card = Card(
        name=name, description="A test.", rank=rank, alpha=8, targets=targets, activation="full", fingerprints=prints,
        base=base.name,
    )  # fmt: skip
    return Skill(card, tensors)


@pytest.mark.parametrize("form", ["bf16", "nf4"])
def test_captures_once_a_kind_and_never_on_a_swap(form: str) -> None:
    base = gpu_base(form)
    bank = Bank(base, rank={8: 2, 16: 1})
    for seed, (name, rank, targets) in enumerate(
        (("one", 4, ("q_proj", "v_proj", "down_proj")), ("two", 8, ("o_proj", "up_proj")),
         ("three", 8, ("k_proj", "gate_proj")), ("wide", 12, ("q_proj", "gate_proj")))
    ):  # fmt: skip
        bank.add(skill(base, name, seed, rank, targets))
    graphs = base.decoder.graphs(bank.attached)

    def step(*rows: tuple[int, int], steps: int = 2) -> torch.Tensor:
        """Rows of (context length, slot): the graph's states, once they agree with the decoder's own."""
        found = []
        for way in (base.decoder.forward, lambda *operands: Decoder.forward(base.decoder, *operands)):
            made = []
            for length, slot in rows:
                cache = base.new_cache(16)
                base.forward([Row([40 + at % 90 for at in range(length)], cache)])
                made.append(Row([77], cache, slot))
            with torch.inference_mode():
                found.append(torch.cat([way(made, bank.attached).hidden for _ in range(steps)]))
            assert all(row.cache.length == length + steps for row, (length, _) in zip(made, rows, strict=True))
        graph, own = found
        assert (graph - own).float().abs().max() <= 5e-2 * own.float().abs().max(), rows
        return graph

    one, two, wide = (bank.slot(name) for name in ("one", "two", "wide"))
    step((5, 0))
    assert graphs.captures == 0 and base.decoder.graphs(None).captures == 1  # the bare base has its own
    alone = step((5, one))
    assert graphs.captures == 1
    step((300, one), steps=5)
    step((7, two))
    three = bank.slot("three")
    assert three == one  # its tensors were written where "one" had been
    assert not torch.equal(step((5, three)), alone) and graphs.captures == 1
    assert torch.equal(step((5, bank.slot("one")))[0], alone[0]) and graphs.captures == 1
    step((5, wide))
    assert graphs.captures == 2
    step((5, wide), (9, bank.slot("one")))
    step((5, bank.slot("two")), (9, wide))
    assert graphs.captures == 3
    one, two = bank.slot("one"), bank.slot("two")
    mixed = step((5, one), (6, 0), (7, two), (8, 0))
    assert torch.equal(mixed[0], step((5, one), (6, two), (7, 0), (8, 0))[0])
    assert torch.equal(mixed[1], step((5, 0), (6, 0), (7, 0), (8, 0))[1])  # slot 0: the bare base's bits
    assert graphs.captures == 4 and base.decoder.graphs(None).captures == 2


def test_growing_contexts_and_caches() -> None:
    """200 steps across two growths of the cache, under one graph."""
    base = gpu_base("nf4")
    caches = [base.new_cache(64) for _ in range(2)]
    for cache in caches:
        base.forward([Row(list(range(40, 100)), cache)])
    token = 50
    with torch.inference_mode():
        for _ in range(250):
            graph = base.decoder.forward([Row([token], caches[0])]).hidden
            own = Decoder.forward(base.decoder, [Row([token], caches[1])]).hidden
            assert (graph - own).float().abs().max() <= 5e-2 * own.float().abs().max()
            token = 40 + (token * 7) % 200
    assert base.decoder.graphs(None).captures == 1 and caches[0].length == 310


def test_the_lifetime_of_what_a_replay_reads() -> None:
    """Memory that captures let go is filled with NaN; what graphs read is still theirs."""
    base = gpu_base("nf4")
    bank = Bank(base, rank={8: 2, 16: 1})
    bank.add(skill(base, "one", 1, 8, ("q_proj", "v_proj", "down_proj")))
    bank.add(skill(base, "wide", 2, 12, ("o_proj", "gate_proj")))
    base.warm_up(bank.attached)
    slots = [bank.slot("one"), bank.slot("wide"), 0]

    def states() -> torch.Tensor:
        found = []
        for choices in ([slots[0]], slots, [0]):
            rows = []
            for choice in choices:
                cache = base.new_cache(64)
                base.forward([Row(list(range(40, 70)), cache)])
                rows.append(Row([77], cache, choice))
            found.append(base.forward(rows, attached=bank.attached).hidden)
        return torch.cat(found)

    before = states()
    filled = [torch.full((128,), float("nan"), device=DEVICE) for _ in range(4096)]  # blocks of 512 bytes
    assert torch.equal(states(), before) and len(filled) == 4096


def test_replays_on_two_streams_and_threads_do_not_meet() -> None:
    base = gpu_base("nf4")
    bank = Bank(base, rank={8: 4})
    names = [bank.add(skill(base, f"skill-{seed}", seed, 8, ("q_proj", "up_proj", "down_proj"))) for seed in range(4)]
    slots = [bank.pin(name) for name in names]

    def decoded(slot: int) -> torch.Tensor:
        cache = base.new_cache(64)
        base.forward([Row([40, 41, 42], cache)])
        return torch.cat(
            [base.forward([Row([60 + at], cache, slot)], attached=bank.attached).hidden for at in range(20)]
        )

    expected, wrong = [decoded(slot) for slot in slots], []

    def work(index: int) -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            for _ in range(5):
                if not torch.equal(decoded(slots[index]), expected[index]):
                    wrong.append(index)
            torch.cuda.current_stream().synchronize()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two devices")
def test_a_base_on_the_second_device() -> None:
    base = gpu_base("nf4", "cuda:1")
    cache = base.new_cache(16)
    base.forward([Row([40, 41, 42], cache)])
    assert base.forward([Row([43], cache)]).hidden.isfinite().all()


def test_mixed_rows_attend_as_each_does_alone() -> None:
    """Decoding, beginning and continuing rows in one forward: torch's varlen attention and our decode kernel."""
    base = gpu_base("bf16")
    made = []
    for together in (True, False):
        caches = [base.new_cache(64) for _ in range(4)]
        for cache, length in zip(caches, (7, 0, 20, 5), strict=True):
            if length:
                base.forward([Row([40 + at for at in range(length)], cache)])
        rows = [Row([50 + at for at in range(count)], cache) for cache, count in zip(caches, (1, 9, 4, 1), strict=True)]
        forwards = [rows] if together else [[row] for row in rows]
        made.append(torch.cat([Decoder.forward(base.decoder, each).hidden for each in forwards]))
    assert (made[0] - made[1]).float().abs().max() <= 5e-2 * made[1].float().abs().max()
