"""The GPU's way through a bank, in Triton's interpreter: the same results as the CPU's."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="triton is installed on Linux only")

SCRIPT = """
import torch
from loraloop.adapters.payload.attached_gpu import SegmentedAttached
from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Row, random_base
from loraloop.adapters.skill.card import Card
from loraloop.adapters.methods.context import MethodContext
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.skill.skill import Skill

base = random_base(1)
bank, other = Bank(base, rank={8: 2, 16: 1}), Bank(base, rank={8: 2, 16: 1})
segmented = other.attached = SegmentedAttached(4, other._stacks)
for name, rank, targets in (("one", 4, ("q_proj", "v_proj", "down_proj")), ("two", 8, ("o_proj", "up_proj")),
                            ("wide", 12, ("q_proj", "gate_proj"))):
    torch.manual_seed(rank)
    made = Lora(rank, 8, targets).init(MethodContext(base.config))
    tensors = {key: torch.randn(value.shape) * 0.3 for key, value in made.items()}
    prints = {"architecture": base.fingerprints.architecture, "weights": base.fingerprints.weights}
    card = Card(name=name, description="A test.", rank=rank, alpha=8, targets=targets, activation="full",
                fingerprints=prints, base=base.name)
    bank.add(Skill(card, tensors))
    other.add(Skill(card, tensors))
one, two, wide = (bank.slot(name) for name in bank.names)
assert (one, two, wide) == tuple(other.slot(name) for name in other.names)
for stack in other._stacks:  # what a skill does not use is not read
    for site, spans in segmented.spans[other._stacks.index(stack)].items():
        unused = spans[..., 0] == spans[..., 1]
        stack.A[site][unused] = stack.B[site].transpose(1, 2)[unused] = float("nan")

def run(attached, *rows):
    rows = [Row(list(range(50, 50 + length)), base.new_cache(), slot) for length, slot in rows]
    return base.forward(rows, attached=attached).hidden

for mix in ([(5, one)], [(1, one), (1, 0), (1, wide), (1, two)], [(20, two), (3, wide), (4, one), (2, 0)]):
    difference = (run(segmented, *mix) - run(bank.attached, *mix)).abs().max().item()
    assert difference < 1e-4, (mix, difference)
alone = run(segmented, (5, one), (5, 0), (5, 0))[:5]
assert torch.equal(run(segmented, (5, one), (5, two), (5, wide))[:5], alone)
assert torch.equal(run(segmented, (5, one), (5, 0), (5, wide))[5:10], run(None, (5, 0), (5, 0), (5, 0))[5:10])

generator = torch.Generator().manual_seed(0)
gains = {f"layers.{i}.{module}.gain": 1 + torch.randn(size, generator=generator) * 0.3
         for i in range(base.config.layers) for module, size in (("v_proj", 16), ("o_proj", 32))}
keys = {f"layers.{i}.prefix.{half}": torch.randn(3, 2, 8, generator=generator)
        for i in range(base.config.layers) for half in ("keys", "values")}
shared = {"description": "A test.", "activation": "full", "base": base.name, "fingerprints": prints}
kinds = Skill(Card(name="scaled", method="ia3", targets=("v_proj", "o_proj"), **shared), gains)
words = Skill(Card(name="words", method="prefix", options={"tokens": 3}, **shared), keys)
banks = [Bank(base, rank={8: 4}), Bank(base, rank={8: 4})]
banks[1].attached = SegmentedAttached(5, banks[1]._stacks)
for each in banks:
    for skill in (kinds, words):
        each.add(skill)
    scaled, worded = each.slot("scaled"), each.slot("words")
for mix in ([(5, scaled)], [(3, scaled), (2, 0), (4, worded)]):
    mine, theirs = run(banks[1].attached, *mix), run(banks[0].attached, *mix)
    assert (mine - theirs).abs().max() < 1e-4 and not torch.allclose(mine, run(None, *mix))
virtual = banks[1].attached.virtual(worded)
cache = base.new_cache()
cache.extend(virtual.prefix)
assert cache.length == 3 and torch.equal(cache.keys[1][0, :, :3].transpose(0, 1), keys["layers.1.prefix.keys"])
from loraloop.adapters.base.decoder.cuda_graphs import served
with torch.inference_mode():
    assert served([Row([5], base.new_cache(), worded), Row([5], base.new_cache())], banks[1].attached, ())
    assert not served([Row([5], base.new_cache(), worded), Row([5], base.new_cache(), scaled)], banks[1].attached, ())
print("agrees")
"""


def test_a_bank_in_the_interpreter() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "agrees" in done.stdout, done.stderr[-3000:]
