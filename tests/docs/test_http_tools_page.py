"""docs/http-tools.md: its blocks run and print what it shows, its table of limits is the code's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from loraloop.tool_schemas import Retries, http_tool

PAGE = Path(__file__).resolve().parents[2] / "docs" / "http-tools.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_blocks_run_and_print_what_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NOTES_TOKEN", "")  # restored afterwards
    names: dict[str, Any] = {"__name__": "http_tools_page"}
    blocks = re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", TEXT, re.DOTALL)
    assert len(blocks) == 4
    for block, shown in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
        assert capsys.readouterr().out == shown
    names["server"].shutdown()


def test_the_limits_are_those_of_the_code() -> None:
    rows = dict(re.findall(r"\| ([^|]+) \| `(\w+)`(?: \(.*\))? \|", TEXT))
    amounts = {option: amount for amount, option in rows.items()}
    sending = http_tool("f", "", {"type": "object"}, "GET", "https://h.test/").function.sending
    names = {"connect_timeout": "connect", "read_timeout": "read"}
    for option, amount in amounts.items():
        unit = 1 << 20 if amount.endswith("MiB") else 1
        value = sending.retries.count if option == "retries" else getattr(sending, names.get(option, option))
        assert float(amount.split()[0]) * unit == value, option
    assert len(amounts) == 5
    assert f"up to {Retries().longest:g} s" in TEXT and f"after {Retries().backoff:g} s" in TEXT
