"""The blocks of docs/bank.md run, in order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "bank.md"


def test_the_page_runs(run_page: Callable[[Path], list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    blocks = run_page(PAGE)
    shown = capsys.readouterr().out
    assert "disk\ndevice {'code': 1}" in shown and "has changed since it was registered (description" in shown
    assert len(blocks) >= 8
