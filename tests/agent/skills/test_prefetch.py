"""What a run makes ready before it is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base
from loraloop.adapters.skill.skill import Skill
from loraloop.agent import Agent, Guard, Limits, Runtime
from loraloop.agent.engine import StepOutput
from loraloop.agent.events import Prefetched, StepFinished
from loraloop.agent.loop.write import StepText, Writer
from loraloop.agent.skills.prefetch import SkillPrefetcher
from loraloop.router.decision import Route
from loraloop.tool_schemas.errors import SkillError

SHORT = Limits(step_tokens=60, max_steps=4)


class Told:
    """Routes by a list of rankings, the first of each chosen."""

    layers = (1,)

    def __init__(self, *rankings: dict[str, float]) -> None:
        self.rankings = list(rankings)

    def features(self, kept: Any, messages: Any = ()) -> Any:
        return None

    def choose(self, features: Any, state: Any) -> Route:
        ranked = self.rankings.pop(0) if self.rankings else {"none": 1.0}
        free = [(name, p) for name, p in ranked.items() if not state.blocked(name)] or [("none", 1.0)]
        return Route(*free[0], False, tuple(free[1:]), ())

    def screen(self, features: Any) -> Any:
        raise AssertionError("not asked")


def ping() -> str:
    """Answers."""
    return "pong"


@pytest.fixture
def bank(small: Base, make_skill: Callable[..., Skill], tmp_path: Path) -> Bank:
    made = Bank(small, slots=4)
    for seed, (name, contract) in enumerate({"tools": "calls", "prose": "text", "other": "text"}.items()):
        made.add(make_skill(small, name, contract, seed).save(tmp_path / name))
    return made


def agent(small: Base, bank: Bank, *rankings: dict[str, float], spare: bool = True, **options: Any) -> Agent:
    runtime = Runtime(small, bank, Told(*rankings), **options)
    runtime.prefetcher.spare = spare
    return Agent(runtime, [ping], limits=SHORT, guard=Guard(input=None, tools=None))


def test_the_runner_up_is_made_ready(small: Base, bank: Bank) -> None:
    stream = agent(small, bank, {"prose": 0.6, "none": 0.2, "other": 0.2}).stream("Hi")
    told = [event for event in stream if isinstance(event, Prefetched)]
    assert [(event.step, event.skills, event.reason) for event in told] == [(0, ("other",), "runner_up")]
    assert stream.result.steps[0].prefetched == ("other",)
    assert bank.settle(10) and bank.tier("other") == "device"
    again = agent(small, bank, {"prose": 0.6, "other": 0.4}).run_sync("Hi")
    assert again.steps[0].prefetched == (), "it is there already"


def test_an_improbable_or_unknown_runner_up_is_left_alone(small: Base, bank: Bank) -> None:
    for ranking in ({"prose": 0.98, "other": 0.02}, {"prose": 0.6, "foreign": 0.4}, {"prose": 0.6, "none": 0.4}):
        assert agent(small, bank, ranking).run_sync("Hi").steps[0].prefetched == ()
    off = agent(small, bank, {"prose": 0.6, "other": 0.4}, prefetch=False).run_sync("Hi")
    assert off.steps[0].prefetched == () and bank.tier("other") == "disk"


def test_a_busy_processor_reads_the_runner_up_while_a_tool_runs(
    small: Base, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert agent(small, bank, {"prose": 0.6, "other": 0.4}, spare=False).run_sync("Hi").steps[0].prefetched == ()
    monkeypatch.setattr(Writer, "write", call_then_answer)
    made = agent(small, bank, {"tools": 0.6, "other": 0.4}, spare=False)
    stream = made.stream("1 + 2?")
    told = [(event.skills, event.reason) for event in stream if isinstance(event, Prefetched)]
    assert told == [(("other",), "tool")] and bank.settle(10) and bank.tier("other") == "device"


def call_then_answer(self: Writer, written: Any, step: StepText) -> Any:
    """Stands in for random weights: a call, then an answer."""
    text = '[{"name":"ping","arguments":{}}]' if not step.index else "Three."
    ids = written.branch.tokenizer.encode(text)
    written.branch.feed(ids[:1])
    written.output = StepOutput(ids, text, "done", len(ids))
    return None
    yield  # a generator, as the real one


def test_while_a_tool_runs_what_usually_follows_is_made_ready(
    small: Base, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = agent(small, bank)
    made.runtime.prefetcher.follows(("tools",), ("other",))
    seen: list[str] = []

    def ping() -> str:
        """Answers."""
        bank.settle(10)
        seen.append(bank.tier("other"))
        return "pong"

    monkeypatch.setattr(Writer, "write", call_then_answer)
    made.runtime.router = Told({"tools": 1.0})  # type: ignore[assignment]
    steps = Agent(made.runtime, [ping], limits=SHORT, policy=made.policy).run_sync("1 + 2?").steps
    assert steps[0].calls and steps[0].prefetched == ("other",) and seen[0] == "device"


def test_runs_teach_what_follows_what(small: Base, bank: Bank) -> None:
    made = agent(small, bank, {"tools": 1.0}, {"prose": 1.0}, {"none": 1.0})
    steps = [step.skill for step in made.run_sync("Hi").steps]
    assert steps[:2] == ["tools", "prose"]
    assert made.runtime.prefetcher.likely(["tools"]) == "prose" and made.runtime.prefetcher.likely(["other"]) == "none"


def test_the_most_frequent_follower_wins() -> None:
    prefetcher = SkillPrefetcher(None, torch.device("cpu"))  # type: ignore[arg-type]
    for after in ("a", "b", "b", "none"):
        prefetcher.follows(("x",), (after,))
    prefetcher.follows(("y",), ("a",))
    prefetcher.follows(("y",), ("a",))
    assert prefetcher.likely(["x"]) == "b" and prefetcher.likely(["x", "y"]) == "a" and prefetcher.likely([]) == "none"


def test_an_error_of_a_guess_is_told_when_the_skill_is_used(small: Base, bank: Bank, tmp_path: Path) -> None:
    (tmp_path / "other" / "skill.safetensors").write_bytes(b"")
    made = agent(small, bank, {"prose": 0.6, "other": 0.4}, {"other": 1.0})
    events = list(made.stream("Hi"))
    assert any(isinstance(event, StepFinished) for event in events), "a wrong guess harms nobody"
    bank.settle(10)
    with pytest.raises(SkillError, match="not a whole safetensors file"):
        made.run_sync("Hi", skill="other")
