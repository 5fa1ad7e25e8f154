from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "skills.md"


def test_every_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 7
    names: dict[str, Any] = {"__name__": "skills_page"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {number + 1}", "exec"), names)
    printed = capsys.readouterr().out
    promised = re.search(r"print\(error\)  # … (.*)", "".join(blocks))
    assert promised and printed.strip().endswith(promised[1])


def test_the_table_names_every_field() -> None:
    from loraloop.adapters.card import Card

    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    named = "".join(row.split("|")[1] for row in rows)
    assert set(re.findall(r"`(\w+)`", named)) == set(Card.model_fields)
