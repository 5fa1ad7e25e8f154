"""docs/methods.md: its blocks run, and its tables name every method and option."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from loraloop.adapters.methods import METHODS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "methods.md"


def test_the_blocks_run(run_page: Callable[[Path], list[str]]) -> None:
    assert len(run_page(PAGE)) == 2


def test_the_tables_name_every_method_and_option() -> None:
    text = PAGE.read_text(encoding="utf-8")
    first, second = text.split("## Where a skill can go")
    rows = {row.split("|")[1].strip().strip("`"): row for row in first.splitlines() if row.startswith("| `")}
    assert set(rows) == set(METHODS)
    named = set(re.findall(r"`(\w+)`", "".join(r.split("|")[1] for r in second.splitlines() if r.startswith("| `"))))
    assert named == set(METHODS)
    for name, row in rows.items():
        if name == "rslora":
            continue
        options = {field.name for field in dataclasses.fields(METHODS[name])}
        assert options <= set(re.findall(r"`(\w+)`", row.split("|")[4])), name


def test_the_commands_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    from loraloop.cli.main import run_command

    for command in re.findall(r"^loraloop (skills \w+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE):
        assert run_command([*command.split(), "--help"]) == 0
        assert "--out" in (told := capsys.readouterr().out) or "lint" in command, told
