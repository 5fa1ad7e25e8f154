"""benchmarks/merge.py runs on one skill and one form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "merge.py"


@pytest.mark.slow
def test_one_skill_in_one_form(tmp_path: Path) -> None:
    target = tmp_path / "merge.json"
    command = [sys.executable, str(SCRIPT), "--limit", "1", "--form", "bf16", "--json", str(target)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    document = json.loads(target.read_text())
    assert document["name"] == "merge" and document["n"] == 1
    row = {name.split("/")[1]: value for name, value in document["metrics"].items()}
    assert 0 < row["weight_percent"] < 1 and row["same_token_percent"] > 90
    assert "/tmp" not in document["command"]
