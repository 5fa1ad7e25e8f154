"""What the benchmark of the server asks for, and one small run of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def test_requests_differ_and_are_well_formed(benchmark: Callable[[str], ModuleType]) -> None:
    from loraloop.server.wire import ChatRequest

    body = benchmark("serve").body
    made = [ChatRequest.model_validate(body(number)) for number in range(16)]
    assert len({each.model_dump_json() for each in made}) == 16
    assert {each.model for each in made} == {"base", "tools", "code"} and sum(bool(each.stream) for each in made) == 8
    assert benchmark("serve").quantile([3.0, 1.0, 2.0], 0.5) == 2.0


@pytest.mark.slow
def test_a_small_run(tmp_path: Path) -> None:
    target = tmp_path / "serve.json"
    options = ("--limit", "1", "--rounds", "1", "--clients", "2")
    command = [sys.executable, str(FOLDER / "serve.py"), *options, "--json", str(target)]
    subprocess.run(command, check=True, capture_output=True, timeout=280)
    document = json.loads(target.read_text())
    assert document["name"] == "serve" and document["n"] >= 4 and document["metrics"]["clients_2_errors"] == 0
