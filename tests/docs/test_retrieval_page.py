"""The blocks of docs/retrieval.md run, in order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "retrieval.md"


def test_the_page_runs(run_page: Callable[[Path], list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert len(run_page(PAGE)) == 3
    shown = capsys.readouterr().out
    assert "Changes(added=1, replaced=0, unchanged=0" in shown and "Changes(added=1, replaced=0, unchanged=1" in shown
    assert "Eiffel Tower › Size | It is 330 metres tall. | docs/tower.md" in shown
