"""Parsers that meet strangers raise nothing but the library's own errors, on the corpus and on mutations of it."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

spec = importlib.util.spec_from_file_location("fuzz_targets", Path(__file__).with_name("targets.py"))
assert spec is not None and spec.loader is not None
targets = importlib.util.module_from_spec(spec)
spec.loader.exec_module(targets)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_the_corpus(name: str) -> None:
    kept = targets.seeds(name)
    assert kept, f"put an example into tests/fuzz/corpus/{name}"
    for data in kept:
        targets.run(name, data)


@pytest.mark.parametrize("name", targets.TARGETS)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(seed=st.integers(0, 2**32), rounds=st.integers(1, 4))
def test_mutations(name: str, seed: int, rounds: int) -> None:
    chance = random.Random(f"{name}-{seed}")
    data = chance.choice(targets.seeds(name))
    for _ in range(rounds):
        data = targets.mutated(data, chance)
    targets.run(name, data)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(data=st.binary(max_size=400), name=st.sampled_from(targets.TARGETS))
def test_any_bytes(data: bytes, name: str) -> None:
    targets.run(name, data)
