"""Assertions on runs, and forbidding real models."""

from __future__ import annotations

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
    ScriptedRuntime,
    assert_called,
    assert_not_called,
    assert_routes,
    calls,
    forbid_real_model,
)


def half(n: int) -> float:
    """Half of a number."""
    if n % 2:
        raise ValueError("odd")
    return n / 2


def run(tools: Any, *made: tuple[str, dict[str, int]]) -> Any:
    agent = Agent(ScriptedRuntime(calls(*made), "Done."), tools, policy=Policy(repeat_calls=True))
    return agent.run_sync("Go.")


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
