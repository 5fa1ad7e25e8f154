"""The page on other programs: its blocks run, in order, and its names are the code's."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from loraloop.agent.skills.function import StepOptions
from loraloop.agent.skills.functions import FUNCTIONS
from loraloop.integrations.pydantic_ai import LoraloopModelSettings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ecosystem.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_runs(run_page: Callable[[Path], list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert len(run_page(PAGE)) == 2
    shown = capsys.readouterr().out
    for text in ("True 5", "'get_weather', {'city': 'Paris'}", " country="):
        assert text in shown


def test_contracts_options_and_settings_are_the_codes() -> None:
    table = TEXT[TEXT.index("| contract |") :].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == set(FUNCTIONS)
    assert all(f"`{option}`" in TEXT for option in StepOptions.__annotations__)
    assert "`loraloop_skill`" in TEXT and "loraloop_skill" in LoraloopModelSettings.__annotations__
    for block in re.findall(r"^```json\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE):
        assert json.loads(block)["mcpServers"]["skills"]["args"] == ["serve", "mcp"]
