"""The pages on traces and the command line: the blocks run; the schema, the spans and the commands are the code's."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loraloop.cli.chat.slash_commands import COMMANDS

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_on_traces_runs(run_page: Callable[[Path], list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert len(run_page(DOCS / "tracing.md")) == 4
    shown = capsys.readouterr().out
    assert "scripted ['tools', 'none'] It is sunny." in shown and "none '' My card is ••••••••••••••••." in shown
    assert "step 1, call 1 arguments {'city': 'Oslo'} → {'city': 'Rome'}" in shown
    assert "chat scripted tools session-7" in shown and "execute_tool weather None session-7" in shown


def test_every_command_is_listed() -> None:
    table = (DOCS / "command-line.md").read_text(encoding="utf-8").split("| say | to |")[1].split("\n\n")[0]
    listed = {command.replace("\\|", "|") for command in re.findall(r"`(/[^`]+)`", table)}
    assert listed == {f"{name} {each.argument}".strip() for name, each in COMMANDS.items()}


def test_the_published_schema_is_the_codes() -> None:
    done = subprocess.run(
        [sys.executable, DOCS / "trace_schema.py", "--check"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
