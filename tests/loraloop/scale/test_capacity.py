"""The capacity model: bytes equal those of what is really loaded, seconds follow from rates, plans are consistent."""

from __future__ import annotations

from dataclasses import asdict, replace
from math import hypot
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, random_base
from loraloop.adapters.base.config import ModelConfig
from loraloop.adapters.base.decoder.native_cache import NativeCache, PagePool, distinct
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.payload.sites import matrix_values
from loraloop.adapters.skill.blank import blank_skill
from loraloop.scale import rates as measuring
from loraloop.scale.capacity import GPUS, USABLE, Capacity, Load, Rates, skill_bytes, weight_bytes
from loraloop.tool_schemas.errors import InputError, UnknownNameError

CONFIG = ModelConfig(64, 96, 2, 4, 2, 16, 259, 4096)
RATES = Rates(weights=1e9, cache=2e9, tokens=1e5, attention=1e8)
HERE = Capacity("tiny", "bf16", "here", CONFIG, weight_bytes(CONFIG, "bf16"), 10**10, RATES)
LOADS = st.builds(
    lambda agents, skills, shared, own, rank, slots: Load(agents, skills, shared + own, shared, rank, slots, speed=50),
    st.integers(1, 300), st.integers(0, 50), st.integers(0, 3000), st.integers(1, 3000),
    st.integers(1, 256), st.integers(1, 20),
)  # fmt: skip


@pytest.mark.parametrize(
    ("form", "more"),
    [
        ("int4", {}),
        ("int8", {"tie_word_embeddings": False}),
        ("bf16", {"kind": "qwen2"}),
        ("fp32", {"kind": "qwen3", "head_dim": 16}),
        ("nf4", {"tie_word_embeddings": False}),
    ],
)
def test_weights_take_what_the_formula_says(
    form: str, more: dict[str, Any], tmp_path: Path, save_llama: Any, make_cache: Any
) -> None:
    if form != "fp32":
        more |= {"num_attention_heads": 2, "num_key_value_heads": 1}  # heads of 32, as the C kernels need them
    save_llama(tmp_path, hidden_size=64, intermediate_size=96, **more)
    base = Base.load(tmp_path, quantize=form, device="cpu", cache_dir=make_cache(tmp_path / "cache"))
    (file,) = tmp_path.glob("cache/bases/*/weights.safetensors")
    with safe_open(file, framework="pt") as stored:
        real = sum(stored.get_tensor(name).nbytes for name in stored.keys())  # noqa: SIM118
    known = weight_bytes(base.config, form)
    if form == "nf4":
        assert 0 <= real - known < 12_000, "the tables of codes of eight small matrices"
    else:
        assert known == real
    held, read = measuring.weights_of(base)
    vectors = 4 * (7 * 64 + 5 * 128)  # of all layers, at most
    assert real - vectors <= held <= real
    assert (held == read) == base.config.tied_embeddings


@given(st.integers(1, 5), st.integers(0, 600), st.integers(1, 600))
@settings(max_examples=60, deadline=None)
def test_caches_take_what_the_formula_says(agents: int, shared: int, own: int) -> None:
    pool = PagePool(CONFIG.layers, CONFIG.kv_heads, CONFIG.head_dim)
    beginning = NativeCache(pool)
    beginning.begin(shared)
    beginning.commit()
    caches = [beginning.fork() for _ in range(agents)]
    for cache in caches:
        cache.begin(own)
        cache.commit()
    assert HERE.cache_bytes(Load(agents, context=shared + own, shared=shared)) == distinct(caches)[1] > 0


@pytest.mark.parametrize("rank", [4, 16, 64])
def test_slots_and_skills_take_what_the_formula_says(rank: int, tmp_path: Path) -> None:
    base = random_base(seed=3)
    bank = Bank(base, slots=3, rank=rank)
    skill = blank_skill(base, "wide", method=Lora(rank, rank))
    bank.slot(bank.add(skill))
    here = replace(HERE, config=base.config, width=4)  # torch's decoder on a processor keeps them in fp32
    assert bank.bytes.device == 3 * here.slot_bytes(rank)
    assert bank.bytes.host == here.slot_bytes(rank) / (2 if rank == 4 else 1), "slots are of rank 8 at least"
    assert skill.bytes == skill_bytes(base.config, rank)
    wanted = here.memory_bytes(Load(skills=5, slots=3, rank=rank))
    assert (wanted["slots"], wanted["skills"]) == (bank.bytes.device, 5 * here.slot_bytes(rank))


def test_seconds_of_a_forward_that_can_be_reckoned_by_hand() -> None:
    config = ModelConfig(64, 96, 1, 4, 2, 16, 256, 4096)
    rates = Rates(weights=1e6, cache=1e6, tokens=1e3, attention=1e4)
    here = Capacity("tiny", "bf16", "here", config, 40_000, 10**9, rates)
    values = 64 * (64 + 2 * 32) + 64 * 64 + 3 * 64 * 96
    assert matrix_values(config) == values
    whole = hypot(0.04, 2 * (1 + 256 * 64 / values) / 1e3)
    pairs, read = 2 * 100 / 1e4, (60 + 2 * 40) * 128 / 1e6
    assert here.token_seconds(Load(2, skills=0, context=100, shared=60)) == pytest.approx(whole + pairs + read)
    apart = replace(here, pages=False).token_seconds(Load(2, skills=0, context=100, shared=60))
    assert apart == pytest.approx(whole + pairs + 2 * 100 * 128 / 1e6)
    assert here.prompt_seconds(100, 50) == pytest.approx(0.1 + 100 * (50 + 50) / 1e4)
    assert here.prompt_seconds(0) == 0.0


@given(LOADS)
@settings(max_examples=100, deadline=None)
def test_more_of_anything_never_takes_less(load: Load) -> None:
    more = [
        replace(load, agents=load.agents + 1),
        replace(load, context=load.context + 7),
        replace(load, skills=load.skills + 1),
    ]
    for other in more:
        before, after = HERE.memory_bytes(load), HERE.memory_bytes(other)
        assert all(after[name] >= before[name] for name in before)
        assert HERE.token_seconds(other) >= HERE.token_seconds(load)
    alone = replace(load, shared=0)
    assert HERE.cache_bytes(load) <= HERE.cache_bytes(alone) and HERE.token_seconds(load) <= HERE.token_seconds(alone)
    assert HERE.prompt_seconds(load.context) >= HERE.prompt_seconds(load.context - load.shared, load.shared)


@given(LOADS, st.integers(4 * 10**8, 10**11))
@settings(max_examples=100, deadline=None)
def test_as_many_machines_are_planned_as_are_needed(load: Load, memory: int) -> None:
    here = replace(HERE, memory=memory)
    plan = here.plan(load)
    most = min(plan["most"].values())

    def serves(agents: int) -> bool:
        one = replace(load, agents=agents)
        return sum(here.memory_bytes(one).values()) <= USABLE * memory and here.token_seconds(one) * load.speed <= 1

    assert not serves(most + 1)
    if most:
        assert serves(most)
        assert (plan["replicas"] - 1) * most < load.agents <= plan["replicas"] * most
    else:
        assert plan["replicas"] is None
    assert load.agents in [row["agents"] for row in plan["speeds"]]
    assert sum(plan["bytes"].values()) - plan["bytes"]["token"] == sum(here.memory_bytes(load).values())


def test_the_rates_of_a_machine_are_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A base whose forwards take exactly the model's time, by a clock that only they move."""
    base = random_base(seed=4, hidden_size=64, layers=3, vocab_size=259)
    wanted = Rates(weights=3e6, cache=5e6, tokens=4e3, attention=2e5)
    weights = measuring.weights_of(base)[0]
    truth = Capacity("tiny", "fp32", "here", base.config, weights, 10**9, wanted, width=4, pages=False)
    now, forward, calls = [0.0], base.forward, []

    def timed(rows: Any, **options: Any) -> Any:
        (row,) = rows
        past, count = row.cache.length, len(row.tokens)
        one = Load(1, skills=0, context=max(past, 1), shared=0)
        now[0] += truth.token_seconds(one) if count == 1 else truth.prompt_seconds(count, past)
        calls.append(count)
        return forward(rows, **options)

    monkeypatch.setattr(base, "forward", timed)
    found = measuring._forward_rates(base, 4, lambda: now[0])
    assert {1, measuring.SHORT, measuring.LONG} == set(calls)
    for name in ("weights", "cache", "tokens", "attention"):
        assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=0.01), name


def test_a_base_is_measured_on_this_machine() -> None:
    base = random_base(seed=5)
    here = measuring.measure(base)
    rates = asdict(here.rates)
    assert rates.pop("least") == 0 and all(0 < rate < float("inf") for rate in rates.values())
    assert here.width == 4 and not here.pages and not here.gpu
    assert here.plan(Load(2, context=64, shared=0))["most"]["memory"] > 2


@pytest.mark.parametrize("name", GPUS)
def test_cards_are_planned_from_their_data(name: str) -> None:
    card = Capacity.of_gpu("tiny", CONFIG, name)
    assert card.form == "nf4" and card.memory == GPUS[name].gigabytes * 2**30
    assert card.token_seconds(Load()) >= 0.002
    two = Load(2, context=2048, shared=2048)
    assert card.cache_bytes(two) == 2 * card.cache_bytes(replace(two, agents=1)), "cards share no beginnings"


def test_what_means_nothing_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="h100"):
        Capacity.of_gpu("tiny", CONFIG, "h10")
    with pytest.raises(InputError, match="leave out --gpu"):
        Capacity.of_gpu("tiny", CONFIG, "l4", "int4")
    with pytest.raises(InputError, match="do not fit into a context of 50"):
        Load(context=50, shared=51)
    for wrong in ({"agents": 0}, {"skills": -1}, {"rank": 300}, {"slots": 0}, {"speed": 0.0}):
        with pytest.raises(InputError, match=f"{next(iter(wrong))} "):
            Load(**wrong)
