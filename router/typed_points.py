"""Routing points round the made tools of the tools skill (`loraloop.adapters.training.sources.typed`).

Several requests share one list of tools: one that a tool serves, one for several calls, one whose tool was taken
away while its siblings stay, one that needs no tool. Only the request tells them apart.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import Passage, user_content
from loraloop.adapters.training.sources.tools_public import Case
from loraloop.adapters.training.sources.typed_several import SeveralMaker
from loraloop.router.runs import Point
from loraloop.tool_schemas import Tool, dumps, render_tools
from loraloop.tool_schemas.errors import SchemaError

if TYPE_CHECKING:
    from loraloop.router.states import Pool

SOURCE = "typed"
LONGEST = 1000
"""Characters of a list of tools."""
_FREE = "typed-chat"
"""Group of the cases whose request needs no tool."""


class PointMaker(SeveralMaker):
    """A maker that tells requests that lack something from those that no tool serves, and stops between calls."""

    def lacking(self) -> Case:
        """A request that lacks what the tool requires; either route is right there, so it is left out."""
        case = super().lacking()
        return case if case.calls else replace(case, kind="lacking")

    def taken_away(self) -> list[Case]:
        """A request with its tool on the list, and the same without it while the others stay."""
        case = self.single()
        needed = {call["name"] for call in case.calls}
        kept = tuple(tool for tool in case.tools if tool["name"] not in needed)
        return [case, replace(case, tools=kept, calls=(), kind="none")] if kept else [case]

    def between(self) -> list[Case]:
        """After each of several calls: call again while one is left, then answer."""
        case = self.multiple()
        turns, found = case.turns, []
        for place, call in enumerate(case.calls):
            outcome = {"name": call["name"], "result": self._result()}
            turns = (*turns, Message("assistant", dumps([call])), Message("tool", dumps(outcome)))
            found.append(replace(case, turns=turns, calls=case.calls[place + 1 :]))
        return found


def typed_lists(rng: random.Random, n: int) -> list[tuple[Tool, ...]]:
    """Lists of one to three made tools, to deal round requests that have nothing to do with them."""
    maker = PointMaker("train", rng)
    found: list[tuple[Tool, ...]] = []
    while len(found) < n:
        tools = tools_of([one.tool for one in maker.tools(rng.choice((1, 1, 2, 3)), "snake", None)])
        if tools and len(render_tools(tools)) < LONGEST:
            found.append(tools)
    return found


def typed_points(texts: Iterator[str], n: int, rng: random.Random, around: Pool) -> Iterator[Point]:
    """About `n` routing points, in groups that share one list of tools and one instruction.

    Args:
        texts: What needs no tool.
        n: How many.
        rng: Source of randomness.
        around: Passages and instructions to deal.
    """
    maker, made = PointMaker("train", rng), 0
    while made < n:
        way = rng.random()
        if way < 0.55:
            cases = [case for case in maker.round(texts, 6) if not case.calls or rng.random() < 0.5]
        elif way < 0.84:
            cases = maker.taken_away()
        elif way < 0.92:
            cases = maker.between()
        else:
            cases = [maker.after_result()]
        instructions = rng.choice(around.instructions) if rng.random() < 0.4 else ""
        for case in cases:
            point = _point(case, instructions, rng, around)
            if point is not None:
                made += 1
                yield point


def _point(case: Case, instructions: str, rng: random.Random, around: Pool) -> Point | None:
    """A case as a point; None if it lacks something, or its tools are too long or outside what a grammar takes."""
    from loraloop.router.states import system

    tools = tools_of(case.tools)
    if case.kind == "lacking" or len(tools) < len(case.tools) or len(render_tools(tools)) > LONGEST:
        return None
    *history, last = case.turns
    passages: tuple[Passage, ...] = ()
    if last.role == "user" and case.group != _FREE and rng.random() < 0.2:
        passages = rng.choice(around.passages)
        last = Message("user", user_content(last.content, passages))
    kind = "tool_result" if last.role == "tool" else "follow_up" if history else "first"
    text = next(turn.content for turn in reversed(case.turns) if turn.role == "user")
    messages = (*system(instructions, tools), *history, last)
    label = "tools" if case.calls else "none"
    return Point(messages, label, False, kind, text, SOURCE, tools, passages=bool(passages))


def tools_of(schemas: Sequence[dict[str, Any]]) -> tuple[Tool, ...]:
    """Those that a grammar takes."""
    found = []
    for schema in schemas:
        try:
            found.append(Tool.from_schema(schema))
        except SchemaError:
            continue
    return tuple(found)
