"""The pages on the architecture and the kernels: the code runs, the table of ops is the op table, named files exist."""

from __future__ import annotations

import re
from pathlib import Path

from loraloop.kernels import ops

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
KERNELS = (ROOT / "kernels" / "README.md").read_text(encoding="utf-8")
ROOMS = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_code_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", KERNELS, re.DOTALL)
    exec(compile(code, "kernels/README.md", "exec"), {})


def test_the_table_names_every_op() -> None:
    table = KERNELS[KERNELS.index("| op |") :].split("\n\n")[0]
    named = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert named == {name for name in ops.SCHEMAS if not name.endswith("_backward")}


def test_the_files_and_commands_exist() -> None:
    rooms = "agent|adapters|router|kernels|tool_schemas|src|tests|recipes"
    named = set(re.findall(rf"`((?:{rooms})/[\w/.]*)`", PAGE + KERNELS + ROOMS))
    assert len(named) > 50 and not {path for path in named if "BASE" not in path and not (ROOT / path).exists()}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^make ([\w-]+)", KERNELS, re.MULTILINE)
    assert targets and all(f"\n{target}:" in makefile for target in targets)
