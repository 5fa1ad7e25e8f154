"""Outputs in the cache survive a kill and are never taken for another run's output."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraloop.evals.harness import OutputCache
from loraloop.tool_schemas.errors import InputError


def test_what_is_kept_is_read_again_and_a_cut_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a" / "outputs.jsonl"
    OutputCache(path, {"base": "x"}).put("skill", "1", output="[]", seconds=0.5)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"system": "skill", "id": "2", "outp')
    again = OutputCache(path, {"base": "x"})
    assert again.get("skill", "1") == {"system": "skill", "id": "1", "output": "[]", "seconds": 0.5}
    assert again.get("skill", "2") is None
    again.put("skill", "2", output="é")
    assert OutputCache(path, {"base": "x"}).get("skill", "2") == {"system": "skill", "id": "2", "output": "é"}


def test_outputs_of_another_evaluation_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "outputs.jsonl"
    OutputCache(path, {"base": "x"})
    with pytest.raises(InputError, match="another evaluation"):
        OutputCache(path, {"base": "y"})
