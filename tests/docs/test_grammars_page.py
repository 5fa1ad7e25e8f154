"""The blocks of docs/grammars.md run, in order, and print what is shown under them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "grammars.md"


def test_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```\s+```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == PAGE.read_text(encoding="utf-8").count("```python") >= 3
    names: dict[str, object] = {"__name__": "page"}
    for code, shown in blocks:
        exec(compile(code, str(PAGE), "exec", dont_inherit=True), names)
        assert capsys.readouterr().out == shown
