"""The blocks of docs/trainer.md run, in order; those marked as needing a network are compiled."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "trainer.md"


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"(<!-- format -->\n)?```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    for unrun, block in blocks:
        code = compile(block, str(PAGE), "exec")
        if not unrun:
            exec(code, names)
    assert capsys.readouterr().out.split() == ["30", "True", "True", "True", "2", "True"]
    assert len(blocks) >= 5
