"""Recorded tools, assertions on runs, and forbidding real models."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loraloop.adapters.base import Base, random_base
from loraloop.agent import Agent, Policy, Runtime
from loraloop.agent.bare import bare_runtime
from loraloop.testing import (
    RealModelError,
    RecordedCall,
    RecordedTools,
    ScriptedRuntime,
    assert_called,
    assert_not_called,
    assert_routes,
    calls,
    forbid_real_model,
)
from loraloop.tool_schemas.errors import InputError, UnknownNameError


def half(n: int) -> float:
    """Half of a number."""
    if n % 2:
        raise ValueError("odd")
    return n / 2


async def later(n: int) -> int:
    """A number, later."""
    await asyncio.sleep(0)
    return n


def run(tools: Any, *made: tuple[str, dict[str, int]]) -> Any:
    agent = Agent(ScriptedRuntime(calls(*made), "Done."), tools, policy=Policy(repeat_calls=True))
    return agent.run_sync("Go.")


MADE = (("half", {"n": 4}), ("half", {"n": 3}), ("later", {"n": 7}))
OUTCOMES = ((2.0, None), (None, "ValueError: odd"), (7, None))


def test_calls_are_noted_saved_and_replayed(tmp_path: Path) -> None:
    tools = RecordedTools([half, later])
    result = run(tools, *MADE)
    expected = [RecordedCall(n, a, r, e) for (n, a), (r, e) in zip(MADE, OUTCOMES, strict=True)]
    assert sorted(tools.calls, key=repr) == sorted(expected, key=repr)  # calls of one step run at once
    replayed = RecordedTools([half, later], replay=tools.save(tmp_path / "calls.json"))
    again = run(replayed, *MADE)
    replayed.assert_replayed()
    assert again.messages == result.messages and sorted(replayed.calls, key=repr) == sorted(expected, key=repr)


def test_what_was_not_recorded_or_not_called_is_named(tmp_path: Path) -> None:
    tools = RecordedTools([half])
    run(tools, ("half", {"n": 4}), ("half", {"n": 8}))
    replayed = RecordedTools([half], replay=tools.calls)
    result = run(replayed, ("half", {"n": 8}), ("half", {"n": 6}))
    assert "was not recorded" in str(result.steps[0].calls[1].error)
    with pytest.raises(AssertionError, match=r'not recorded: half\({"n":6}\)\n  not called: half\({"n":4}\)'):
        replayed.assert_replayed()
    with pytest.raises(UnknownNameError, match="half"):
        RecordedTools([later], replay=tools.calls)
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(InputError, match="make one with save"):
        RecordedTools([half], replay=tmp_path / "x.json")


def test_failures_of_assertions_show_the_run() -> None:
    result = run([half], ("half", {"n": 4}))
    assert_routes(result, ["tools", "none"])
    (call,) = assert_called(result, "half", {"n": 4}, times=1, exactly=True)
    assert call.name == "half"
    assert_not_called(result, "later")
    with pytest.raises(AssertionError, match=r"step 1 ran on 'none', not on 'code'(.|\n)*half\({\"n\":4}\) -> 2.0"):
        assert_routes(result, ["tools", "code"])
    with pytest.raises(AssertionError, match="has 2 steps, not 1"):
        assert_routes(result, ["tools"])
    with pytest.raises(AssertionError, match=r"n is 4, not 5(.|\n)*ended: answer"):
        assert_called(result, "half", {"n": 5})
    with pytest.raises(AssertionError, match="was not called 2 times, but 1"):
        assert_called(result, "half", times=2)
    with pytest.raises(AssertionError, match="no call of 'later' at all"):
        assert_called(result, "later")
    with pytest.raises(AssertionError, match="half was called"):
        assert_not_called(result, "half")
    with pytest.raises(AssertionError, match="n is there too"):
        assert_called(result, "half", {}, exactly=True)


def test_a_real_model_neither_loads_nor_runs() -> None:
    runtime = bare_runtime(random_base(hidden_size=8, head_dim=2, layers=1))
    before = Base.__dict__["forward"]
    with forbid_real_model():
        with forbid_real_model(), pytest.raises(RealModelError, match="about to run the model 'random'"):
            Agent(runtime).run_sync("Go.")
        with pytest.raises(RealModelError, match="about to load a model"):
            Runtime.load()
        with pytest.raises(RealModelError):
            Base.load("smollm2-135m")
        assert Agent(ScriptedRuntime("Hi.")).run_sync("Go.").output == "Hi."
    assert Base.__dict__["forward"] is before
    assert Agent(runtime).run_sync("Go.").steps


def test_the_fixture(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["loraloop.testing.plugin"]\n')
    (tmp_path / "test_it.py").write_text(
        "import pytest\nfrom loraloop.adapters.base import Base\nfrom loraloop.testing import RealModelError\n"
        "def test_it(no_real_model):\n    with pytest.raises(RealModelError):\n        Base.load()\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
