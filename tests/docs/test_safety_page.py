"""The page on the safety gate: its blocks run, and what it says of rules and defaults is so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "safety-evaluation.md"


def test_the_page_runs(run_page: Callable[[Path], list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert len(run_page(PAGE)) == 3
    assert '"verdict":"unsafe"' in capsys.readouterr().out
