"""The page on the agent: its blocks run, in order, and its events and numbers are the code's."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from loraloop.agent import Limits
from loraloop.agent.events import EVENTS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "agent.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_runs(run_page: Callable[[Path], list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert len(run_page(PAGE)) == 9
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] in ("12", "0") and "True retry" in shown
    assert any(re.fullmatch(r"True True \d+ MiB", line) for line in shown)
    assert "``` (1, True)" in shown
    assert "stopped caller" in shown and "['ValueError: disk full']" in shown


def test_every_event_is_listed_and_the_bound_is_the_codes() -> None:
    table = TEXT[TEXT.index("| event |") :].split("\n\n")[0]
    assert set(re.findall(r"`([A-Z]\w+)`", table)) == {event.__name__ for event in EVENTS}
    assert f"`Limits.tool_retries` ({Limits().tool_retries})" in TEXT
