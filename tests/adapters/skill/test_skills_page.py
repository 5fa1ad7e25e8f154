from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "skills.md"


def test_every_block_runs(run_page: Callable[[Path], list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    blocks = run_page(PAGE)
    assert len(blocks) == 4
    printed = capsys.readouterr().out
    promised = re.search(r"print\(error\)  # … (.*)", "".join(blocks))
    assert promised and f"{promised[1]}\n" in printed
    assert "disk\ndevice {'code': 1}" in printed


def test_the_table_names_every_field() -> None:
    from loraloop.adapters.skill.card import Card

    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    named = "".join(row.split("|")[1] for row in rows)
    assert set(re.findall(r"`(\w+)`", named)) == set(Card.model_fields)
