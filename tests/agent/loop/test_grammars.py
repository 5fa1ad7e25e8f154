"""Grammars are compiled once, in the background, and a step says what it waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base
from loraloop.adapters.skill.skill import Skill
from loraloop.agent import Agent, Limits, Policy, Runtime
from loraloop.testing import ScriptedRouter
from loraloop.tool_schemas.tools.tool import Tool

MakeRuntime = Callable[..., Runtime]


def fresh(name: str) -> Tool:
    """A tool whose grammar nothing has compiled."""
    properties = {name: {"enum": ["a", "b"]}}
    return Tool(name, "", {"type": "object", "properties": properties, "required": [name]}, lambda **_: 1)


def engine_of(runtime: Runtime, monkeypatch: pytest.MonkeyPatch, wait: threading.Event | None = None) -> list[Any]:
    """Notes what the runtime's engine compiles, and in which thread, and holds it up if asked."""
    compiler = runtime.engine.compiler
    compiled: list[Any] = []
    real = compiler.compile_anew

    def noting(term: Any) -> Any:
        compiled.append((threading.current_thread().name, term))
        if wait is not None:
            wait.wait(5)
        return real(term)

    monkeypatch.setattr(compiler, "compile_anew", noting)
    return compiled


def test_calls_and_answers_are_compiled_in_the_background(
    make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = make_runtime()
    compiled = engine_of(runtime, monkeypatch)
    agent = Agent(runtime, [fresh("one")], output_type=list[bool], policy=Policy(tool_choice="required", max_calls=1))
    result = agent.run_sync("go")
    assert result.steps[0].outcome == "calls"
    names = {name for name, _ in compiled}
    assert len(compiled) == 3 and "loraloop-compile" in names  # the first call, later ones, the answer


def test_the_skill_that_calls_is_read_in_the_background(
    small: Base, make_skill: Callable[..., Skill], monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, reads = Bank(small, slots=2), []
    bank.add(make_skill(small, "tools", "calls", 1))
    real = bank.read
    monkeypatch.setattr(bank, "read", lambda name: reads.append((threading.current_thread().name, name, real(name))))
    runtime = Runtime(small, bank, ScriptedRouter(()))
    for word in ("read", "again"):  # another tool has another grammar; the skill is in its slot by then
        Agent(runtime, [fresh(word)], policy=Policy(tool_choice="required"), limits=Limits(max_steps=1)).run_sync("go")
    assert reads == [("loraloop-compile", "tools", None)]


def test_what_had_to_be_waited_for_is_in_the_trace(make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, wait = make_runtime(), threading.Event()
    compiled = engine_of(runtime, monkeypatch, wait)
    agent = Agent(
        runtime, [fresh("two")], policy=Policy(tool_choice="required", max_calls=1), limits=Limits(max_steps=1)
    )
    threading.Timer(1.0, wait.set).start()  # a busy machine may take as long to read the prompt
    (step,) = agent.run_sync("go").steps
    assert 20 < step.ms["compile"] < 5000 and compiled
    (step,) = agent.run_sync("go").steps
    assert "compile" not in step.ms


def test_a_forward_does_not_wait_for_a_compilation(make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, wait = make_runtime(), threading.Event()
    engine_of(runtime, monkeypatch, wait)
    slow = Agent(runtime, [fresh("three")], policy=Policy(tool_choice="required"), limits=Limits(max_steps=1))
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(slow.run_sync, "go")
        result = Agent(runtime, limits=Limits(step_tokens=5)).run_sync("hi")
        assert result.steps and not held.done()
        wait.set()
        assert held.result(20).steps


def test_runs_that_need_one_grammar_compile_it_once(make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = make_runtime()
    compiled = engine_of(runtime, monkeypatch)
    agent = Agent(runtime, [fresh("four")], policy=Policy(max_calls=1, min_calls=1), limits=Limits(max_steps=1))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: agent.run_sync("go", tool_choice="required"), range(8)))
    assert len(compiled) == 1  # the first choice and later ones write the same here


def test_a_run_that_needs_no_grammar_compiles_none(make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = make_runtime()
    compiled = engine_of(runtime, monkeypatch)
    Agent(runtime, limits=Limits(step_tokens=5)).run_sync("hi")
    Agent(runtime, [fresh("five")], policy=Policy(tool_choice="none"), limits=Limits(step_tokens=5)).run_sync("hi")
    assert compiled == []


def test_an_error_of_the_compiler_is_told_by_the_step(
    make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    from loraloop.tool_schemas.errors import SchemaError

    runtime = make_runtime("tools")

    def fail(term: Any) -> Any:
        raise SchemaError("no grammar today")

    monkeypatch.setattr(runtime.engine.compiler, "compile_anew", fail)
    with pytest.raises(SchemaError, match="no grammar today"):
        Agent(runtime, [fresh("six")]).run_sync("go")
