"""The page on GPU kernels: its code runs, and its table of ops is the op table."""

from __future__ import annotations

import re
from pathlib import Path

from loraloop.kernels import ops

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "kernels.md").read_text(encoding="utf-8")


def test_the_code_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "docs/kernels.md", "exec"), {})


def test_the_table_names_every_op() -> None:
    named = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert named == {name for name in ops.SCHEMAS if not name.endswith("_backward")}


def test_the_commands_exist() -> None:
    makefile = (Path(__file__).resolve().parents[2] / "Makefile").read_text(encoding="utf-8")
    assert all(f"\n{target}:" in makefile for target in re.findall(r"^make ([\w-]+)", PAGE, re.MULTILINE))
