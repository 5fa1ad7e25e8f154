"""What a runtime keeps in memory is bounded by what it takes, and shown."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loraloop import Agent, Limits
from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, Message
from loraloop.agent import PassageIndex, Runtime
from loraloop.agent.engine.trunk import Trunk, TrunkStore
from loraloop.testing import ScriptedRouter
from loraloop.tool_schemas.errors import InputError, LimitError


def filled(base: Base, text: str) -> Trunk:
    trunk = Trunk(base)
    message = Message("user", text)
    trunk.append(message, base.chat.message(message.role, message.content))
    trunk.flush()
    return trunk


@pytest.fixture(params=["small", "native_base"])
def kind(request: pytest.FixtureRequest) -> Base:
    base: Base = request.getfixturevalue(request.param)
    return base


def test_many_short_transcripts_take_no_more_than_few_long_ones(kind: Base) -> None:
    """A cache begins with room for more tokens than a short transcript has."""
    store = TrunkStore(2_000)
    fresh = filled(kind, "x").sequence.cache
    for number in range(60):
        store.put(filled(kind, f"number {number}"))
    held = store.held
    assert held.count > 8 and held.tokens <= held.positions <= held.limit == 2_000
    assert held.bytes / held.positions == pytest.approx(fresh.nbytes / fresh.capacity)
    store.clear()
    assert store.held.bytes == store.held.count == 0


def test_a_trimmed_cache_goes_on_as_if_nothing_were(kind: Base) -> None:
    trunk, same = filled(kind, "Hello."), filled(kind, "Hello.")
    before = trunk.sequence.cache.capacity
    trunk.rest()
    assert len(trunk.ids) <= trunk.sequence.cache.capacity <= before
    more = Message("user", "And then? " * 20)
    values = []
    for each in (trunk, same):
        each.append(more, kind.chat.message(more.role, more.content))
        branch = each.branch()
        values.append(branch.feed(list(kind.chat.generation_prompt)))
        branch.close()
    assert values[0].equal(values[1])
    cache = same.sequence.cache
    address = cache.capacity
    cache.trim()
    assert cache.capacity == address  # more than half of it is used: it is left alone


def test_a_runtime_shows_what_it_keeps(make_runtime: Callable[..., Runtime]) -> None:
    runtime = make_runtime("whole", "prose", reuse=600, full_reuse=400)
    agent = Agent(runtime, limits=Limits(step_tokens=8))
    for number in range(6):
        agent.run_sync(f"Say {number}. " * 4, skill="whole")
    memory = runtime.memory()
    assert 0 < memory.trunks.positions <= memory.trunks.limit == 600
    assert 0 < memory.contexts.positions <= memory.contexts.limit == 400
    assert memory.contexts.bytes > 0 and memory.bank.device > 0 and memory.bank.host <= memory.bank.host_limit
    assert memory.grammars <= memory.grammars_limit
    assert memory.bytes == memory.trunks.bytes + memory.contexts.bytes + memory.bank.device + memory.bank.host
    assert json.loads(json.dumps(memory.to_dict()))["trunks"]["count"] == memory.trunks.count


def test_grammars_are_counted(make_runtime: Callable[..., Runtime]) -> None:
    runtime = make_runtime()
    before = runtime.memory().grammars
    for number in range(3):
        runtime.grammar({"type": "integer", "minimum": number})
    runtime.grammar({"type": "integer", "minimum": 0})
    assert runtime.memory().grammars == before + 3


def test_a_step_waits_for_a_slot_that_others_have(small: Base, make_skill: Any) -> None:
    bank = Bank(small, slots=1)
    for seed, name in enumerate(("one", "two")):
        bank.add(make_skill(small, name, "text", seed))
    runtime = Runtime(small, bank, ScriptedRouter())
    with (
        runtime.engine.activate("one"),
        pytest.raises(LimitError, match="are pinned"),
        runtime.engine.activate("two", wait=0.05),
    ):
        pass
    held = runtime.engine.activate("one")
    held.__enter__()
    timer = threading.Timer(0.2, held.__exit__, (None, None, None))
    timer.start()
    start = time.monotonic()
    with runtime.engine.activate("two") as active:
        assert active.author.skill == "two" and time.monotonic() - start > 0.15
    timer.join()


def test_an_index_on_a_full_disk_stays_as_it_was_and_can_be_added_to_again(tmp_path: Path) -> None:
    with PassageIndex(tmp_path / "index") as index:
        index.add({"source": "first", "text": "The heron nests here."})
        pages = index._file._database.execute("PRAGMA page_count").fetchone()[0]
        index._file._database.execute(f"PRAGMA max_page_count = {pages + 2}")
        big = {"source": "second", "text": " ".join(f"word{n}" for n in range(20_000))}
        for _ in range(2):
            with pytest.raises(InputError, match="database or disk is full; nothing was changed"):
                index.add(big)
        assert index.sources == ("first",) and index.retrieve("heron")
        index._file._database.execute("PRAGMA max_page_count = 100000")
        assert index.add(big).added == 1
