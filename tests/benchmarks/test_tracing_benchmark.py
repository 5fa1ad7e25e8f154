"""benchmarks/tracing.py runs, and its figures have the order that they must have."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "tracing.py"


def test_one_round(tmp_path: Path) -> None:
    target = tmp_path / "tracing.json"
    command = [sys.executable, str(SCRIPT), "--limit", "1", "--json", str(target)]
    subprocess.run(command, check=True, capture_output=True, timeout=200)
    document = json.loads(target.read_text())
    metrics = document["metrics"]
    assert document["name"] == "tracing" and document["n"] == 1 and metrics["bytes"] > 5_000
    assert metrics["read_us"] > 0 and metrics["tracer_us"] < metrics["step_us"]
