"""What `loraloop route` shows of the router's answers."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from loraloop.render.result import show_route
from loraloop.router.decision import Route, ScreenResult

ROUTE = Route("tools", 0.9, False, (("none", 0.1),), ())


@pytest.mark.parametrize(
    ("call", "line"), [(0.93, "call    needed  p = 0.930"), (0.2, "call    not needed  p = 0.200"), (None, "")]
)
def test_the_need_of_a_call_is_shown_where_the_router_tells(call: float | None, line: str) -> None:
    written = StringIO()
    show_route(Console(file=written, width=100), ScreenResult(0.1, False, 0.5), replace(ROUTE, call=call))
    assert [each.rstrip() for each in written.getvalue().splitlines() if each.startswith("call")] == [line] * bool(line)
