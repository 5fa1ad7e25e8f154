"""Many agents at once, and what is not computed again: what the benchmarks make of what they measure."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def agents(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("agents")


@pytest.fixture(scope="module")
def peers(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("agents_peers")


def test_the_interval_of_a_median_is_by_order(agents: ModuleType) -> None:
    assert agents.interval([float(at) for at in range(24)]) == (11.5, 7.0, 16.0)
    assert agents.interval([1.0, 1.0]) == (1.0, 1.0, 1.0)


def test_figures_of_agents_that_write(peers: ModuleType) -> None:
    done = [
        peers.AgentTimes([1.0, 1.5, 2.0], 3, ready=0.5, first=0.9),
        peers.AgentTimes([2.0, 3.0, 4.5], 6, ready=0.75, first=1.1),
    ]
    found = peers.figures_of(done)
    assert found["tokens_per_s"] == 9 / 3.75 and found["whole_per_s"] == 2 and found["first_ms"] == pytest.approx(1000)
    assert found["gap_p50_ms"] == 750 and 1480 < found["gap_p99_ms"] <= 1500
    served = peers.figures_of([peers.AgentTimes([1.0, 2.0, 4.0], 3)])
    assert "tokens_per_s" not in served, "who reads is not known of a server"


def test_results_are_of_one_run_and_written_as_they_come(agents: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "agents.json"
    agents.Results("one", 3, path).add({"free, mixed, 8, tokens_per_s": 50.0})
    run = agents.Results("one", 3, path)
    run.add(
        {
            "free, mixed, 16, tokens_per_s": 858.0,
            "free, mixed, 16, whole_per_s": 600.0,
            "lock, mixed, 16, tokens_per_s": 429.0,
            "free, mixed, shared prefix, 1, MB": 40.0,
            "free, mixed, shared prefix, 16, MB": 80.0,
        }
    )
    document = json.loads(path.read_text(encoding="utf-8"))
    assert "one: lock, mixed, 16, tokens_per_s" in document["metrics"]
    assert "one: free, mixed, 8, tokens_per_s" not in document["metrics"], "of an earlier run"
    run.add({"free, mixed, 16, whole_per_s": 300.0}, "vLLM")
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["ratios"] == {
        "one: scheduler over lock, 16 agents": 2.0,
        "one: memory without sharing over with it, 16 agents": 8.0,
        "one: over vLLM, mixed, 16 agents": 2.0,
    }
    assert document["peers"]["vLLM"] == {"one: free, mixed, 16, whole_per_s": 300}


def test_clients_ask_at_once_and_never_the_same_twice(peers: ModuleType) -> None:
    asked: list[tuple[tuple[int, ...], int]] = []

    def ask(prompt: Sequence[int], tokens: int, skill: int) -> list[float]:
        asked.append((tuple(prompt), skill))
        return [0.5 + 0.1 * at for at in range(tokens)]

    bench = SimpleNamespace(skills=[None] * 2, tokens=4, prompt=lambda at, shared: [7] * 9 * shared + [at])
    found = peers.clients(bench, ask, 3)
    assert found["free, mixed, shared prefix, 3, whole_per_s"] == pytest.approx(12 / 0.8)
    assert len({prompt for prompt, _ in asked}) == len(asked) == 12
    assert sorted(skill for _, skill in asked) == [0] * 10 + [1] * 2


def test_only_events_with_text_or_a_token_count(peers: ModuleType) -> None:
    events = [
        {"content": "a", "tokens": [5], "stop": False},
        {"content": "", "tokens": [6], "stop": False},
        {"content": "", "tokens": [], "stop": True},
    ]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    ways = {"/completion": httpx.Response(200, text=body), "/full": httpx.Response(503, text="no slot")}
    client = httpx.Client(transport=httpx.MockTransport(lambda asked: ways[asked.url.path]), base_url="http://here")
    assert len(peers.streamed(client, "/completion", {})) == 2
    with pytest.raises(RuntimeError, match="/full answers 503: no slot"):
        peers.streamed(client, "/full", {})


@pytest.mark.slow
def test_all_parts_run(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "benchmarks" / "agents.py", "--agents", "1,2", "--limit", "1", "--tokens", "4"]
    command += ["--pairs", "2", "--parts", "alone,free,forced,lock", "--json", tmp_path / "agents.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "agents.json").read_text(encoding="utf-8"))["metrics"]
    assert len(metrics) == 3 + 1 + 2 * (4 * 7 + 7 + 7)
