"""The page on the sandbox: its blocks run, and its mechanisms, limits and numbers are the code's."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from loraloop import Sandbox
from loraloop.agent.sandbox import sandbox
from loraloop.agent.sandbox import scratch as sandbox_scratch
from loraloop.agent.sandbox.job import SandboxJob
from loraloop.agent.tools import python_tool

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sandbox.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_runs(run_page: Callable[[Path], list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert len(run_page(PAGE)) == 3
    shown = capsys.readouterr().out
    assert "True 13983816\n" in shown and "MemoryError" in shown
    assert shown.splitlines()[-1] == sandbox.mechanisms()[0]


def test_mechanisms_limits_and_numbers_are_the_codes() -> None:
    listed = re.findall(r"^\| [12–] \| `(\w+)`", TEXT, re.MULTILINE)
    assert listed == [*sandbox._MECHANISMS, sandbox.sandbox_unconfined.NAME]
    limits = dict(re.findall(r"^\| `(\w+)` \| (\d+)", TEXT, re.MULTILINE))
    known = {field.name: field.default for field in fields(Sandbox)}
    assert {name: int(value) for name, value in limits.items()} == {name: int(known[name]) for name in limits}
    assert set(known) - set(limits) == {"mechanism", "allow_unconfined"}
    assert f"at most {python_tool.OUTPUT} characters" in TEXT
    assert f"looked at {1 / sandbox_scratch.LOOK_SECONDS:.0f} times" in TEXT
    assert f"{sandbox_scratch.MOST_FILES:,}, or {sandbox_scratch.DEEPEST} nested".replace(",", " ", 1) in TEXT
    assert "'RLIMIT_NOFILE': 64" in SandboxJob(1, 1, 1).command(confine=False)[-1]
