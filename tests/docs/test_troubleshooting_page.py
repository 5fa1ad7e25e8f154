"""The page on troubleshooting quotes messages that the code has."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


def test_every_message_that_is_quoted_is_in_the_code() -> None:
    rooms = ("adapters", "agent", "kernels", "router", "src", "tool_schemas")
    code = "".join(file.read_text(encoding="utf-8") for room in rooms for file in (ROOT / room).rglob("*.py"))
    code += (ROOT / "Makefile").read_text(encoding="utf-8")
    rows = re.findall(r"^- (.+?): ", PAGE, re.MULTILINE)
    quoted = [text for row in rows for text in re.findall(r"`([^`]+)`", row) if " " in text]
    assert len(quoted) > 20
    assert not [text for text in quoted if text not in code]
