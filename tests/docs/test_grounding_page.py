"""docs/grounding.md: its blocks run and print what it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "grounding.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_blocks_run_and_print_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {"__name__": "grounding_page"}
    blocks = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == TEXT.count("```python") == 4
    for block, shown in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
        assert capsys.readouterr().out == shown
