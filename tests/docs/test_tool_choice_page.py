"""The page on tool choice and typed answers: its blocks run, in order, and its names exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from loraloop.agent import Limits, Policy
from loraloop.agent.step import StopReason

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tool-choice.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "tool_choice_page"}
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {number + 1}", "exec"), names)
    shown = capsys.readouterr().out
    assert len(blocks) >= 7 and "name='Emma' age=34" in shown and "tokens left out" in shown
    assert re.search(r"^tools (router|policy) (calls|no_call|invalid \$\[0\])", shown, re.MULTILINE)


def test_what_it_says_of_defaults_is_so() -> None:
    assert f"`Policy.repairs` ({Policy().repairs})" in TEXT
    assert f"`Limits.result_tokens` ({Limits().result_tokens // 1000} {Limits().result_tokens % 1000:03})" in TEXT
    reasons = re.findall(r"stop reason `(\w+)`", TEXT)
    assert reasons and set(reasons) <= set(get_args(StopReason))
