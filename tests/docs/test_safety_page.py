"""The page on the safety gate: its blocks run, and what it says of rules and defaults is so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "safety-evaluation.md"


def test_the_page_runs(run_page: Callable[[Path], list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert len(run_page(PAGE)) == 3
    assert '"verdict":"unsafe"' in capsys.readouterr().out


def test_the_rule_is_the_codes() -> None:
    from loraloop.evals.safety_thresholds import LOST, REFUSED

    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert f"at most {LOST:.0%} of".replace("%", " %") in text
    assert f"at most {REFUSED:.0%} of".replace("%", " %") in text
    assert f"at most {REFUSED / 2:.0%} of all".replace("%", " %") in text
