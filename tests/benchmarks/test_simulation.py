"""The simulation of many machines: what a step must read, where its skill is and when it writes, known by hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from loraloop.scale.capacity import Capacity, Load


@pytest.fixture(scope="module")
def sim(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("simulation")


@pytest.fixture(scope="module")
def card(sim: ModuleType) -> Capacity:
    return Capacity.of_gpu("qwen2.5-coder-1.5b", sim.QWEN, "l4")


def alone(sim: ModuleType, **other: Any) -> Any:
    """One conversation on one skill, to machines that hold nothing."""
    traffic = sim.Traffic(conversations=1, rate=1.0, skills=50, shared=1000, switch=0.0, warm=False)
    return replace(traffic, **other)


def test_the_least_recently_used_goes_first(sim: ModuleType) -> None:
    held = sim.Recent(3)
    held.put("a", 1, 7)
    held.put("b", 2, 8)
    assert held.get("a") == 7
    held.put("c", 2, 9)
    assert [held.get(key) for key in "abc"] == [7, 0, 9]
    other = held.copy()
    other.put("a", 3, 1)
    assert (held.get("a"), held.get("c"), other.get("a"), other.get("c")) == (7, 9, 1, 0)


@pytest.mark.parametrize("system", ["trunk", "split"])
def test_a_conversation_on_one_skill_reads_what_is_new(sim: ModuleType, card: Capacity, system: str) -> None:
    new, written, steps = sim.NEW, sim.WRITTEN, sim.STEPS
    each = new + written if system == "trunk" else new
    found = sim.simulate(card, 1, (system, "conversation"), alone(sim), seed=0)
    assert found.read == 1000 + new + (steps - 1) * each, "a trunk reads what a step wrote once more"
    assert found.places == {"slot": steps - 1, "memory": 0, "file": 1}
    token = sim.Fleet(card, 1, system, "conversation", random.Random(0)).token
    first = card.switch_seconds(Load(rank=sim.RANK))["file"] + card.prompt_seconds(1000 + new) + token
    assert found.waits[0] == pytest.approx(first)
    assert found.waits[1] == pytest.approx(card.prompt_seconds(each, 1000 + new + written + new - each) + token)


def test_a_switch_costs_a_split_cache_the_transcript(sim: ModuleType, card: Capacity) -> None:
    found = {}
    for system in ("trunk", "split"):
        fleet = sim.Fleet(card, 1, system, "conversation", random.Random(0))
        (machine,) = fleet.machines
        steps = [sim.Step(0, 0, skill, 100 * at, 50) for at, skill in enumerate((1, 2, 1, 1), start=1)]
        found[system] = [fleet.unread(machine, step)[0] for step in [*steps, sim.Step(9, 0, 2, 70, 50)]]
    assert found["trunk"] == [100, 100, 100, 100, 20]
    assert found["split"] == [100, 200, 200 - sim.WRITTEN, 100 - sim.WRITTEN, 20]


def test_placement_by_skill_sends_a_skill_to_one_machine(
    sim: ModuleType, card: Capacity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sim, "APPS", 20)
    traffic = alone(sim, conversations=60, rate=5.0, switch=1.0)
    by_skill = sim.simulate(card, 10, ("split", "skill"), traffic, seed=1)
    by_conversation = sim.simulate(card, 10, ("split", "conversation"), traffic, seed=1)
    assert sum(by_skill.places.values()) == 60 * sim.STEPS == len(by_conversation.waits)
    assert by_skill.places["file"] <= 50 < by_conversation.places["file"], "each of the 50 skills is read once"
    warm = sim.simulate(card, 10, ("split", "skill"), replace(traffic, warm=True), seed=1)
    assert warm.places["file"] == 0 and 0 < len(warm.waits) < 60 * sim.STEPS


def test_popular_skills_have_several_machines_and_a_conversation_stays_at_one(sim: ModuleType, card: Capacity) -> None:
    fleet = sim.Fleet(card, 200, "split", "popularity", random.Random(0), 1000)
    assert fleet.copies == sorted(fleet.copies, reverse=True) and fleet.copies[-1] == 1
    share = 1 / sum(1 / (1 + rank) for rank in range(1000))
    assert fleet.copies[0] == 1 + int(sim.SPREAD * 200 * share) > 40
    for skill in (0, 5, 999):
        used = {id(fleet.home(skill, conversation)) for conversation in range(2000)}
        assert used == {id(machine) for machine in fleet.homes(skill)}
        assert fleet.copies[skill] // 2 < len(used) <= fleet.copies[skill]
    traffic = alone(sim, conversations=1, switch=0.0)
    found = sim.simulate(card, 200, ("split", "popularity"), traffic, seed=0)
    assert found.read == 1000 + sim.STEPS * sim.NEW and found.places["file"] == 1
    fleet.warm(1000, [[0, 5]], 100)
    assert all(each.memory.get(0) and each.cached.get((0, "app", 0)) for each in fleet.homes(0))


def test_systems_see_the_same_conversations(sim: ModuleType, card: Capacity) -> None:
    traffic = alone(sim, conversations=40, rate=4.0, switch=0.5)
    found: list[Any] = [sim.simulate(card, 4, system, traffic, seed=2) for system in sim.SYSTEMS]
    assert len({each.asked for each in found}) == 1 and found[0].asked > 0
    again = sim.simulate(card, 4, sim.SYSTEMS[0], traffic, seed=2)
    assert again == found[0]
