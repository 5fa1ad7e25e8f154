"""A server takes a skill that is registered while it runs, and loses no run."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from loraloop import Agent
from loraloop.adapters.skill import history, registry
from loraloop.adapters.skill.blank import blank_skill
from loraloop.inputs.skill_watch import SkillWatch
from loraloop.testing import ScriptedRuntime, calls


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORALOOP_SKILLS", str(tmp_path / "home"))
    return tmp_path / "home"


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def registered(runtime: Any, folder: Path, description: str) -> None:
    registry.register(blank_skill(runtime.base, "tools", "calls", description).save(folder / description), "tools")


def watched(runtime: Any) -> SkillWatch:
    return SkillWatch(runtime, lambda: list(registry.registered().values()))


def test_registered_versions_are_taken_also_back(tmp_path: Path) -> None:
    runtime = ScriptedRuntime()
    watch = watched(runtime)
    assert watch.look() == []
    registered(runtime, tmp_path, "one")
    assert watch.look() == ["tools"] and runtime.bank.card("tools").description == "one"
    assert watch.look() == []
    registered(runtime, tmp_path, "two")
    assert watch.look() == ["tools"] and runtime.bank.card("tools").description == "two"
    history.rollback("tools")
    assert watch.look() == ["tools"] and runtime.bank.card("tools").description == "one"
    registry.register(blank_skill(runtime.base, "unknown").save(tmp_path / "unknown"), "unknown")
    assert watch.look() == [] and "unknown" not in runtime.bank, "a new name needs a restart"


def test_the_shipped_skill_is_taken_again_where_the_users_is_removed(tmp_path: Path) -> None:
    runtime = ScriptedRuntime()
    shipped = blank_skill(runtime.base, "tools", "calls", "shipped").save(tmp_path / "library" / "tools")
    watch = SkillWatch(runtime, lambda: [registry.registered().get("tools", shipped)])
    registered(runtime, tmp_path, "mine")
    assert watch.look() == ["tools"] and runtime.bank.card("tools").description == "mine"
    history.remove("tools")
    assert watch.look() == ["tools"] and runtime.bank.card("tools").description == "shipped"


def test_a_damaged_version_is_not_taken(tmp_path: Path, home: Path, caplog: pytest.LogCaptureFixture) -> None:
    runtime = ScriptedRuntime()
    watch = watched(runtime)
    registered(runtime, tmp_path, "one")
    watch.look()
    (home / "tools" / "card.json").write_text("{", encoding="utf-8")
    assert watch.look() == [] and "was not taken" in caplog.text
    assert runtime.bank.card("tools").description == "one"
    assert watch.look() == [] and caplog.text.count("was not taken") == 1, "said once"


def test_no_run_is_lost_while_skills_are_replaced(tmp_path: Path) -> None:
    """Runs with several steps each, one after the other, while a new version appears again and again."""
    count = 12
    runtime = ScriptedRuntime(*[each for _ in range(count) for each in (calls(add={"a": 1, "b": 2}), "It is 3.")])
    registered(runtime, tmp_path, "zero")
    watch = watched(runtime)
    watch.look()
    watch.start(0.005)
    done = threading.Event()

    def register() -> None:
        number = 0
        while not done.is_set():
            number += 1
            registered(runtime, tmp_path, f"v{number % 7}")
            time.sleep(0.01)

    writer = threading.Thread(target=register)
    writer.start()
    agent = Agent(runtime, [add])
    try:
        results = [agent.run_sync("What is 1 + 2?") for _ in range(count)]
    finally:
        done.set()
        writer.join()
        watch.stop()
    assert [result.output for result in results] == ["It is 3."] * count
    assert all(result.steps[0].calls[0].result == 3 for result in results)
    assert watch.replaced > 1, "versions were taken meanwhile"
