"""The page on testing: its blocks run, in order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "testing.md"


def test_the_page_runs(run_page: Callable[[Path], list[str]]) -> None:
    assert len(run_page(PAGE)) == 4
