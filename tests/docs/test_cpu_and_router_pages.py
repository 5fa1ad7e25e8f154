"""The blocks of docs/cpu.md and docs/router.md run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from loraloop.adapters.base import Base

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", ["cpu", "router"])
def test_the_page_runs(name: str, base: Base) -> None:
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert blocks
    names: dict[str, Any] = {"__name__": f"{name}_page"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{name}.md, block {number + 1}", "exec"), names)
