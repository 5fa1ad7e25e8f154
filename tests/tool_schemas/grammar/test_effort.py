"""Work on hostile schemas is bounded, and ends when somebody asks for it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from loraloop.tool_schemas import GrammarCompiler, JsonSchema
from loraloop.tool_schemas.errors import LimitError
from loraloop.tool_schemas.grammar.effort import Effort, stopping
from loraloop.tool_schemas.grammar.prepare import prepared

WORD: dict[str, Any] = {
    "type": "object",
    "properties": {"w": {"type": "string", "pattern": "\\bword\\b"}},
    "required": ["w"],
    "additionalProperties": False,
}
"""No grammar enforces the pattern, and none of the shortest strings fits it: each way out is looked for in vain."""


class CountedEffort(Effort):
    """Counts the masks that were taken."""

    __slots__ = ("taken",)

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.taken = 0

    def take(self) -> None:
        self.taken += 1
        super().take()


def test_a_search_for_an_end_computes_a_bounded_number_of_masks(compiler: GrammarCompiler) -> None:
    state = compiler.compile(JsonSchema(WORD, None, "check")).start()
    effort = CountedEffort(300)
    assert state.closing(4096, effort) is None and effort.over
    assert 300 <= effort.taken < 310
    assert state.closing(4096, effort) is None and effort.taken < 310, "what is used up stays used up"


def test_a_search_for_an_end_stops_when_it_is_asked_to(compiler: GrammarCompiler) -> None:
    state = compiler.compile(JsonSchema(WORD, None, "check")).start()
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 30

    effort = CountedEffort(4000, stop)
    assert state.closing(4096, effort) is None and effort.stopped
    assert 0 < effort.taken <= 40


def test_preparing_schemas_stops_when_it_is_asked_to() -> None:
    deep: dict[str, Any] = {"type": "string", "pattern": "(?=a)b"}
    for _ in range(6):
        deep = {"anyOf": [deep, {"allOf": [deep]}]}
    until = time.monotonic() + 0.2
    with stopping(lambda: time.monotonic() >= until), pytest.raises(LimitError, match="in time"):
        for number in range(1000):
            prepared({"type": "object", "properties": {f"p{number}": deep}}, "check")
    assert time.monotonic() - until < 3
    assert prepared(WORD, "check").findings, "outside of the block it is made ready as ever"
