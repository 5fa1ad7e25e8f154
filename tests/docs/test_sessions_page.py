"""The page on sessions: its blocks run, in order, and what it says of policies and methods is the code's."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from loraloop.agent.sessions.sessions import OnUnfinished
from loraloop.tool_schemas.http.client import Retries

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sessions.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_runs(run_page: Callable[[Path], list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert len(run_page(PAGE)) == 5
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].endswith(" 2") and shown[1:4] == ["interrupted 1", "idle True True", "True []"]
    assert [line.split()[0] for line in shown[4:6]] == ["bert", "anna"] and all(" idle " in line for line in shown[4:6])
    assert shown[6].startswith("How many pears are in stock? ") and "'tools'" in shown[6]
    assert shown[7].startswith("[('get_stock', 1, False)")


def test_what_the_page_lists_is_the_codes() -> None:
    table = TEXT[TEXT.index("| `on_unfinished` |") :].split("\n\n")[0]
    assert set(re.findall(r'`"(\w+)"`', table)) == set(get_args(OnUnfinished))
    assert f"`Retries.methods`: {', '.join(Retries().methods)})" in TEXT
