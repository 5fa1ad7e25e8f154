"""Whole decode steps of random bases of real shapes on a GPU: what `gpu_kernels.py` measures after the kernels."""

from __future__ import annotations

import random
import statistics
from typing import Any

import torch
from episode import random_skill
from torch import Tensor

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, ModelConfig, Row
from loraloop.adapters.base.decoder.cuda_graphs import GraphedDecoder
from loraloop.adapters.base.decoder.decoder import Layer
from loraloop.adapters.base.loading.convert import BaseFingerprints, Converted
from loraloop.adapters.base.random_weights import random_base
from loraloop.adapters.payload.sites import GROUPS, group_shape
from loraloop.adapters.skill.skill import Skill
from loraloop.kernels.nf4 import Nf4Weight
from loraloop.kernels.quantized import DenseWeight

SHAPES: dict[str, dict[str, int]] = {
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "layers": 32, "heads": 32, "kv_heads": 8, "head_dim": 128},
    "1.5b": {"hidden_size": 1536, "intermediate_size": 8960, "layers": 28, "heads": 12, "kv_heads": 2, "head_dim": 128},
}
ROWS, CONTEXTS, SKILLS, RANK = (1, 8, 64), (1024, 2048), (0, 1, 8, 64), 16


def made_base(shape: dict[str, int], device: torch.device, nf4: bool = True) -> Base:
    """A random base on the device, its layers in NF4 or bf16; its tokenizer knows bytes only."""
    small = random_base(layers=1)
    config = ModelConfig(**shape, vocab_size=small.config.vocab_size, max_positions=8192)

    def drawn(*size: int) -> Tensor:
        return torch.randn(size, device=device, dtype=torch.bfloat16) * 0.02

    def matrix(group: str) -> Nf4Weight | DenseWeight:
        values = drawn(*group_shape(config, group))
        return Nf4Weight.quantize(values) if nf4 else DenseWeight(values)

    layers = [
        Layer(
            attention_norm=1 + drawn(config.hidden_size),
            mlp_norm=1 + drawn(config.hidden_size),
            **{group: matrix(group) for group in GROUPS},
        )
        for _ in range(config.layers)
    ]
    embedding = DenseWeight(drawn(config.vocab_size, config.hidden_size))
    norm = 1 + drawn(config.hidden_size)
    decoder = GraphedDecoder(config, embedding, layers, norm, embedding, dtype=torch.bfloat16, device=device)
    card = Converted(
        name="random", form="nf4", config=config, chat=small.chat.format, eos_ids=(0,),
        fingerprints=BaseFingerprints(f"random-{sorted(shape.items())}", "random"), sha256="",
    )  # fmt: skip
    return Base(card, decoder, small.tokenizer)


def made_bank(base: Base, slots: int, skills: int) -> tuple[Bank, list[str]]:
    """A bank and the names of random skills of rank 16 on all modules; from the 17th on their weights come again."""
    drawn = [random_skill(base, "random", seed, RANK).to(torch.bfloat16) for seed in range(min(skills, 16))]
    bank, names = Bank(base, slots=slots, rank=RANK, host_bytes=16 << 30), []
    for number in range(skills):
        given = drawn[number % len(drawn)]
        card = given.card.model_copy(update={"name": f"skill-{number}", "activation": "full"})
        names.append(bank.add(Skill(card, given.tensors)))
    return bank, names


def steps(short: str, repeats: int, device: torch.device, shape: dict[str, int] | None = None) -> dict[str, float]:
    """Median times of a step, by rows, context and number of distinct skills."""
    base = made_base(shape or SHAPES[short], device)
    bank, names = made_bank(base, slots=64, skills=64)
    slots = [bank.slot(name) for name in names]
    base.warm_up(bank.attached)
    found: dict[str, float] = {}
    for context in CONTEXTS:
        caches = [filled(base, context + repeats + 8) for _ in range(ROWS[-1])]
        for count in ROWS:
            for skills in (number for number in SKILLS if number <= max(count, 1)):
                choices = [slots[row % skills] if skills else 0 for row in range(count)]
                rows = [Row([5], cache, choice) for cache, choice in zip(caches, choices, strict=False)]
                for cache in caches:
                    cache.truncate(context)
                times = [timed(base, bank, rows) for _ in range(3 + repeats)][3:]
                found[f"{short}_rows{count}_context{context}_skills{skills}_us"] = statistics.median(times)
        del caches
    return found


def swaps(short: str, device: torch.device, count: int = 1000, shape: dict[str, int] | None = None) -> dict[str, float]:
    """Steps that swap skills in and out: new captures and states that differ from the skill's first ones."""
    base = made_base(shape or SHAPES[short], device)
    bank, names = made_bank(base, slots=4, skills=12)
    base.warm_up(bank.attached)
    assert isinstance(base.decoder, GraphedDecoder)
    before = base.decoder.capture(bank.attached)
    cache, drawn, first, wrong = filled(base, 64), random.Random(0), dict[str, Tensor](), 0
    for _ in range(count):
        name = drawn.choice(names)
        cache.truncate(40)
        with bank.using(name) as slot:
            states = base.forward([Row([5], cache, slot)], attached=bank.attached).hidden.cpu()
        wrong += not torch.equal(first.setdefault(name, states), states)
    later = base.decoder.capture(bank.attached) - before
    return {f"{short}_swaps": count, f"{short}_swaps_captures": later, f"{short}_swaps_mismatches": wrong}


def filled(base: Base, positions: int) -> Any:
    """A cache that holds random keys and values."""
    cache = base.new_cache(positions)
    cache.begin(positions - 1)
    cache.commit()
    for planes in (cache.keys, cache.values):  # type: ignore[union-attr]
        for plane in planes:
            plane.normal_()
    return cache


def timed(base: Base, bank: Bank, rows: list[Row]) -> float:
    """Microseconds of a step on the device."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    base.forward(rows, attached=bank.attached)
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) * 1e3
