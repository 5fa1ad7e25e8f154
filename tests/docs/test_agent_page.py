"""The page on the agent: its blocks run, in order, and its events, stop reasons and numbers are the code's."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from loraloop.agent import Limits, Policy
from loraloop.agent.events import EVENTS
from loraloop.agent.values.step import StopReason

PAGE = Path(__file__).resolve().parents[2] / "docs" / "agent.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_runs(run_page: Callable[[Path], list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert len(run_page(PAGE)) == 9
    shown = capsys.readouterr().out.splitlines()
    assert re.match(r"(router|policy) calls ", shown[0])
    assert "name='Emma' age=34" in shown
    assert ("12" in shown or "0" in shown) and "True retry" in shown
    assert "['Dates: the day after tomorrow = 2026-03-20 (Friday)']" in shown
    assert "stopped caller" in shown and "['ValueError: disk full']" in shown


def test_every_event_is_listed_and_the_bounds_are_the_codes() -> None:
    table = TEXT[TEXT.index("| event |") :].split("\n\n")[0]
    assert set(re.findall(r"`([A-Z]\w+)`", table)) == {event.__name__ for event in EVENTS}
    assert f"`Limits.tool_retries` ({Limits().tool_retries})" in TEXT
    assert f"`Policy.repairs` ({Policy().repairs})" in TEXT
    assert f"`Limits.result_tokens` ({Limits().result_tokens // 1000} {Limits().result_tokens % 1000:03})" in TEXT


def test_every_stop_reason_is_listed() -> None:
    table = TEXT[TEXT.index("| stop reason |") :].split("\n\n")[0]
    listed = {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert listed == set(get_args(StopReason))
