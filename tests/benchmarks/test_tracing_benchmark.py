"""benchmarks/tracing.py runs, and says how large a trace is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "tracing.py"


def test_three_rounds(tmp_path: Path) -> None:
    target = tmp_path / "tracing.json"
    command = [sys.executable, str(SCRIPT), "--limit", "3", "--json", str(target)]
    subprocess.run(command, check=True, capture_output=True, timeout=200)
    document = json.loads(target.read_text())
    metrics = document["metrics"]
    assert document["name"] == "tracing" and document["n"] == 3 and metrics["bytes"] > 5_000
    assert all(value > 0 for value in metrics.values()) and metrics["otel_us"] < 20_000
