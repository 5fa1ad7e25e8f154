"""What the benchmarks of the server count, and one small run of each."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def test_calibration_is_measured_by_bins(benchmark: Callable[[str], ModuleType]) -> None:
    scores = benchmark("decisions").scores
    sure = [[0.9, 0.1]] * 10
    assert scores("x", sure, [0] * 9 + [1]) == {"x_accuracy": 0.9, "x_ece": pytest.approx(0)}
    assert scores("x", sure, [1] * 10) == {"x_accuracy": 0.0, "x_ece": pytest.approx(0.9)}
    assert scores("x", [[0.6, 0.4], [0.2, 0.8]], [0, 1])["x_ece"] == pytest.approx(0.3)


def test_requests_differ_and_are_well_formed(benchmark: Callable[[str], ModuleType]) -> None:
    from loraloop.server.wire import ChatRequest

    body = benchmark("serve").body
    made = [ChatRequest.model_validate(body(number)) for number in range(16)]
    assert len({each.model_dump_json() for each in made}) == 16
    assert {each.model for each in made} == {"base", "tools", "code"} and sum(bool(each.stream) for each in made) == 8
    assert benchmark("serve").quantile([3.0, 1.0, 2.0], 0.5) == 2.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [("decisions", ("--limit", "2")), ("serve", ("--limit", "1", "--rounds", "1", "--clients", "2"))],
)
def test_a_small_run(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    target = tmp_path / f"{name}.json"
    command = [sys.executable, str(FOLDER / f"{name}.py"), *options, "--json", str(target)]
    subprocess.run(command, check=True, capture_output=True, timeout=280)
    document = json.loads(target.read_text())
    assert document["name"] == name and document["n"] >= 4 and document["metrics"].get("clients_2_errors", 0) == 0
