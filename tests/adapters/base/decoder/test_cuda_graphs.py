"""Decode steps as graphs: what is captured and how often, and that a replayed step is the decoder's own.

Without a GPU, Triton's interpreter runs the kernels and a capture is a function that is called again; tests/gpu has the
real ones.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from loraloop.adapters.base import Row
from loraloop.adapters.base.decoder.cache import KVCache
from loraloop.adapters.base.decoder.cuda_graphs import GraphedDecoder, GraphKind, served
from loraloop.adapters.base.decoder.step_cache import StepInputs
from loraloop.adapters.base.random_weights import random_base

pytest.importorskip("triton", reason="triton is installed on Linux only")

SCRIPT = """
import gc, weakref
from contextlib import nullcontext
import torch
from loraloop.adapters.payload.attached_gpu import SegmentedAttached
from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Row, random_base
from loraloop.adapters.base.decoder.cuda_graphs import DecodeGraphs, GraphKind, adapted
from loraloop.adapters.base.decoder.decoder import Decoder
from loraloop.adapters.skill.card import Card
from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.skill.skill import Skill
from loraloop.kernels.gpu import triton_attention
from loraloop.kernels.nf4 import Nf4Weight

class Again:
    '''Like a graph, it keeps nothing alive: what is captured is gone if nobody else holds it.'''
    def __init__(self, run):
        self.run, self.output = weakref.ref(run), run()
    def replay(self):
        self.output = self.run()()

class Stream:
    running, handed_over, capture = staticmethod(nullcontext), staticmethod(lambda made: made), staticmethod(Again)

triton_attention.PROGRAMS = 4
base = random_base(1, layers=1, hidden_size=64, intermediate_size=128, heads=2, kv_heads=1, head_dim=16, scale=0.1)
for layer in base.decoder.layers:  # "o" and its 32 columns stay dense
    for group in ("qkv", "gate_up", "down"):
        weight = getattr(layer, group)
        setattr(layer, group, Nf4Weight.quantize(weight.values, torch.float32))
bank, plain = Bank(base, rank={8: 2, 16: 1}), Bank(base, rank={8: 2, 16: 1})
segmented = bank.attached = SegmentedAttached(4, bank._stacks)

def add(name, seed, rank, targets):
    torch.manual_seed(seed)
    made = Lora(rank, 8, targets).init(MethodContext(base.config))
    tensors = {key: torch.randn(value.shape) * 0.3 for key, value in made.items()}
    prints = {"architecture": base.fingerprints.architecture, "weights": base.fingerprints.weights}
    skill = Skill(Card(name=name, description="A test.", rank=rank, alpha=8, targets=targets, activation="full",
                       fingerprints=prints, base=base.name), tensors)
    bank.add(skill)
    plain.add(skill)

def slot(name):
    assert bank.slot(name) == plain.slot(name)
    return bank.slot(name)

add("one", 1, 4, ("q_proj", "v_proj", "down_proj"))
add("two", 2, 8, ("o_proj", "up_proj"))
add("three", 3, 8, ("k_proj",))
add("wide", 4, 12, ("q_proj", "gate_proj"))
graphs = DecodeGraphs(base.decoder, segmented, Stream())

def step(*rows, steps=1):
    '''Each row: (context length, slot). The graph's hidden states, once they are those of the decoder itself.'''
    found = []
    for way in (graphs.forward, lambda rows: Decoder.forward(base.decoder, rows, plain.attached).hidden):
        made = []
        for length, slot in rows:
            cache = base.decoder.new_cache(16)
            if length:
                base.forward([Row([40 + i % 90 for i in range(length)], cache)])
            made.append(Row([77], cache, slot))
        with torch.inference_mode():
            found.append(torch.cat([way(made) for _ in range(steps)]))
        assert all(row.cache.length == length + steps for row, (length, _) in zip(made, rows))
    gc.collect()
    graph, own = found
    assert (graph - own).abs().max() < 1e-4 * own.abs().max(), (rows, (graph - own).abs().max())
    return graph

one, two, wide = (slot(name) for name in ("one", "two", "wide"))
step((5, 0), steps=3)
step((0, 0), (16, 0), (3, 0))
assert graphs.captures == 2  # the bare base with one row, and with four
alone = step((5, one))
assert graphs.captures == 3
step((300, two), steps=2)
three = slot("three")  # a swap: "one" goes, as its slot was used least recently
assert three == one
swapped = step((5, three))
assert graphs.captures == 3 and not torch.equal(alone, swapped)
step((5, wide))
assert graphs.captures == 4
step((5, wide), (2, two))
step((5, three), (2, wide))
assert graphs.captures == 5
mixed = step((5, two), (6, 0), (7, three), (4, 0))
assert graphs.captures == 6 and torch.equal(mixed[1], step((9, three), (6, 0), (7, 0), (4, two))[1])
assert torch.equal(step((5, two), (6, 0), (7, 0), (4, 0))[0], mixed[0]) and graphs.captures == 6
graphs.capture(GraphKind(8, (0, 1)))  # before anybody needs it
assert graphs.captures == 7
step((5, two), (6, 0), (7, wide), (4, 0), (3, 0))
assert graphs.captures == 7
assert adapted(base.decoder, segmented, (None, None)).rope is base.decoder.rope
print("agrees")
"""


@pytest.mark.timeout(600)
def test_steps_in_the_interpreter() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0 and "agrees" in done.stdout, done.stderr[-3000:]


class Stacks:
    """Two rank buckets: slots 1 and 2, and slot 3."""

    def used(self, slots: set[int]) -> tuple[bool, ...]:
        return bool(slots & {1, 2}), 3 in slots


def test_a_kind_says_what_is_in_use_and_not_which() -> None:
    cache = random_base().decoder.new_cache()

    def kind(*slots: int) -> GraphKind:
        return GraphKind.of([Row([5], cache, slot) for slot in slots], Stacks())

    assert kind(0) == GraphKind(1) and kind(0, 0, 0) == kind(0, 0, 0, 0) == GraphKind(4)
    assert kind(1) == kind(2) == GraphKind(1, (0,)) != kind(3) == GraphKind(1, (1,))
    assert kind(1, 0) == kind(0, 2) == GraphKind(2, (0,)) and kind(1, 3) == kind(3, 2) == GraphKind(2, (0, 1))
    assert GraphKind.of([Row([5], cache, 0)], None) == GraphKind(1)


def test_which_forwards_are_steps() -> None:
    base = random_base()
    caches = [base.decoder.new_cache() for _ in range(65)]
    one = [Row([5], caches[0])]
    with torch.inference_mode():
        assert served(one, None, ())
        assert not served(one, None, (1,))  # a layer's states are wanted
        assert not served([Row([5, 6], caches[0])], None, ())
        assert not served([Row([5], caches[0]), Row([6], caches[0])], None, ())
        assert not served([Row([5], cache) for cache in caches], None, ())
        assert not served(one, object(), ())
    assert not served(one, None, ())  # a gradient may be wanted


def test_other_forwards_take_the_decoders_own_way() -> None:
    base = random_base()
    own = base.decoder
    graphed = GraphedDecoder(own.config, own.embedding, own.layers, own.norm, own.head, own.dtype, own.device)
    rows = [[Row([5, 6, 7], own.new_cache())] for _ in range(2)]
    with torch.inference_mode():
        assert torch.equal(graphed.forward(rows[0]).hidden, own.forward(rows[1]).hidden)


def test_inputs_of_a_step_are_one_block() -> None:
    caches = [KVCache(1, 1, 4, torch.float32, torch.device("cpu"), capacity) for capacity in (3, 9)]
    caches[1].length = 8
    inputs = StepInputs(2, 2, torch.device("cpu"))
    inputs.fill([7, 9], caches, [[0, -1], [-1, 3]])
    assert inputs.tokens.tolist() == [7, 9]
    assert inputs.addresses.tolist() == [cache.keys[0].data_ptr() for cache in caches]
    assert inputs.capacities.tolist() == [3, 9] and inputs.lengths.tolist() == [0, 8]
    assert [table.tolist() for table in inputs.slots] == [[0, -1], [-1, 3]]
    before = inputs.slots[1].data_ptr()
    inputs.fill([1, 2], caches, [[], [2]])
    assert inputs.slots[1].tolist() == [2, -1] and inputs.slots[1].data_ptr() == before


@pytest.mark.parametrize("length", [0, 5])
def test_a_cache_in_16_bits_is_attended_to(length: int) -> None:
    """As on a GPU, where queries come in fp32."""
    torch.manual_seed(0)
    base = random_base()
    out = []
    for dtype in (torch.float32, torch.bfloat16):
        cache = KVCache(2, 2, 8, dtype, torch.device("cpu"))
        for tokens in ([list(range(5, 5 + length))] if length else []) + [[9], [10, 11]]:
            hidden = base.forward([Row(tokens, cache)]).hidden
        out.append(hidden)
    assert (out[0] - out[1]).abs().max() < 2e-2 * out[0].abs().max()


def test_angles_of_a_tensor_of_positions() -> None:
    rope = random_base().decoder.rope
    for ours, table in zip(rope.at(torch.tensor([4, 0, 2]), 3), rope.at(0, 6), strict=True):
        assert torch.equal(ours, table[[4, 0, 2]])
