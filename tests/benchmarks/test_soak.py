"""A short soak on a small random base: all holds, and a step under another skill is found."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import ModuleType

import pytest

from loraloop import Runtime
from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import random_base
from loraloop.testing import ScriptedRouter


@pytest.fixture(scope="module")
def soak(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("soak")


def made(soak: ModuleType) -> Runtime:
    """More skills than slots, one of them on the whole context."""
    base = random_base(seed=3)
    bank = Bank(base, slots=4, rank=4)
    for seed, name in enumerate(("tools", "code", "retrieval", "first", "second", "third")):
        bank.add(soak.larger(base, name, seed, 20))
    bank.add(soak.larger(base, "whole", 9, 20, "full"))
    return Runtime(base, bank, ScriptedRouter(), context=1500, reuse=6000, full_reuse=3000)


def test_a_short_soak_holds(soak: ModuleType) -> None:
    """Memory is not judged here: a few seconds are its warm-up."""
    at = soak.Soak(made(soak), step_tokens=80)
    document = soak.report(at, *at.run(6, 4.0), 6).document()
    assert [text for text in document["details"]["problems"] if not text.startswith("memory grew")] == []
    assert document["metrics"]["runs"] > 6 and document["metrics"]["accidents"] >= 3


def test_a_step_under_another_skill_is_found(soak: ModuleType) -> None:
    """The check can fail: two skills change places behind the steps' back."""
    runtime = made(soak)
    at = soak.Soak(runtime, accidents=())
    at.kept = soak.noted(runtime, 1.0, random.Random(0))
    for name in ("first", "second"):
        at._agent.run_sync("Say something.", skill=name, deps=[])
    kept = {picked.skill: picked for picked in at.kept}
    assert soak.wrong_skills(runtime, [kept["first"], kept["second"]], random.Random(0))[1] == []
    kept["first"].skill, kept["second"].skill = "second", "first"
    assert len(soak.wrong_skills(runtime, [kept["first"], kept["second"]], random.Random(0))[1]) == 2
