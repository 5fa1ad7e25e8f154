"""The bank's tiers on a GPU: page-locked memory, and slots that are written while others decode."""

from __future__ import annotations

import threading
from pathlib import Path

import torch

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, Row
from loraloop.adapters.payload.sites import MODULES

from .test_gpu_graphs import gpu_base, skill

STEPS = 12


def decoded(base: Base, bank: Bank, slot: int) -> torch.Tensor:
    cache = base.new_cache(16)
    base.forward([Row([40, 41, 42, 43, 44], cache)])
    return torch.cat(
        [base.forward([Row([60 + at], cache, slot)], attached=bank.attached).hidden for at in range(STEPS)]
    )


def test_skills_are_read_into_page_locked_memory_and_written_beside_decoding(tmp_path: Path) -> None:
    base = gpu_base("bf16")
    names = [f"skill-{seed}" for seed in range(6)]
    folders = [skill(base, name, seed, 8, MODULES).save(tmp_path / name) for seed, name in enumerate(names)]
    expected = {}
    for name, folder in zip(names, folders, strict=True):
        alone = Bank(base, slots=1, rank=8)
        expected[name] = decoded(base, alone, alone.slot(alone.add(folder)))
    bank = Bank(base, slots=3, rank=8)
    for folder in folders:
        bank.add(folder)
    bank.slot(names[0])
    held = bank._host.get(names[0])
    assert held is not None and all(A.is_pinned() and B.is_pinned() for A, B in held.pairs.values())
    failures: list[str] = []
    one_at_a_time = threading.Lock()  # as the runtime does with forwards

    def work(seed: int) -> None:
        try:
            for step in range(10):
                name = names[(3 * seed + step) % len(names)]
                bank.read(names[(3 * seed + step + 1) % len(names)])
                with bank.using(name) as slot, one_at_a_time:
                    if not torch.equal(decoded(base, bank, slot), expected[name]):
                        failures.append(name)
        except Exception as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
