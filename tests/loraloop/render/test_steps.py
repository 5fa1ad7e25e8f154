"""Steps on a terminal: what the line of a step says about the router."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console

from loraloop.adapters.skill.blank import blank_skill
from loraloop.adapters.skill.skill import Skill
from loraloop.agent import Agent
from loraloop.cli.chat.screen import route_line
from loraloop.render.steps import steps_tree
from loraloop.testing import ScriptedRuntime, calls


def test_a_step_that_the_loop_decided_is_not_chosen_over_the_routers_choice() -> None:
    def find(title: str) -> str:
        """Finds a page."""
        return title

    runtime = ScriptedRuntime(calls(), "Ten.")
    plain = blank_skill(runtime.base, "tools", "calls")
    runtime.bank.remove("tools")
    runtime.bank.add(Skill(plain.card.model_copy(update={"asks": True}), plain.tensors))
    choose = runtime.router.choose

    def documents(features: Any, state: Any) -> Any:
        from dataclasses import replace

        route = choose(features, state)
        return replace(route, skill="none", probability=0.98, runners_up=(("tools", 0.01), ("retrieval", 0.01)))

    runtime.router.choose = documents  # type: ignore[method-assign]
    result: Any = Agent(runtime, [find]).run_sync("How many?", passages=["Ten."])
    out = StringIO()
    Console(file=out, width=200).print(steps_tree(result.steps))
    first, second = (line for line in out.getvalue().splitlines() if "  by " in line)
    assert "1 tools 0.01  by loop, the router: none 0.98  over retrieval 0.01" in first
    assert "2 none 0.98  by router  over tools 0.01, retrieval 0.01" in second


def test_a_step_that_the_fallback_wrote_names_it() -> None:
    from dataclasses import replace

    (step,) = Agent(ScriptedRuntime("Hi.")).run_sync("Hi.").steps
    written = replace(step, tokens=replace(step.tokens, written_by="big\x1b[2J"))
    out = StringIO()
    Console(file=out, width=200).print(steps_tree([written]))
    assert "written by big[2J" in out.getvalue() and "written by big[2J" in route_line(written)
