"""The page on the guard: its blocks run, in order, and its tables are the code's."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from loraloop.adapters.base.origin import Kind
from loraloop.agent.guard.guard import Gate, Place, Reach

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guard.md"
TEXT = PAGE.read_text(encoding="utf-8")


def first_cells(head: str) -> list[str]:
    """The first cell of each row of the table that begins so."""
    table = TEXT[TEXT.index(head) :].split("\n\n")[0]
    return [line.split("|")[1] for line in table.splitlines()[2:]]


def test_the_page_runs(run_page: Callable[[Path], list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert len(run_page(PAGE)) == 5
    shown = capsys.readouterr().out
    assert '"verdict":"unsafe"' in shown
    assert "tools read_mail withheld" in shown and '"error":"withheld' in shown
    assert "tool guard read_mail" in shown
    assert "('tools', ('read_mail',))" in shown or "('read_mail',)" in shown


def test_tables_name_what_there_is() -> None:
    assert re.findall(r"`(\w+)`", " ".join(first_cells("| place |"))) == list(get_args(Place))
    assert re.findall(r"`(\w+)`", " ".join(first_cells("| `Gate(…)` |"))) == [each.name for each in fields(Gate)]
    assert re.findall(r'`"(\w+)"`', " ".join(first_cells("| `after_untrusted=` |"))) == list(get_args(Reach))
    assert sorted(re.findall(r"`(\w+)`", " ".join(first_cells("| kind |")))) == sorted(get_args(Kind))
