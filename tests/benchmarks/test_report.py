"""The document that benchmarks write, and its table."""

from __future__ import annotations

import json
import math
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import loraloop
from loraloop import __version__
from loraloop.agent.tracing import provenance
from loraloop.tool_schemas.mcp.results import own_version

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def report(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("report")


def test_the_document_has_the_agreed_form(report: ModuleType, tmp_path: Path) -> None:
    peers = {"peft": {"total_ms": 123.0}}
    made = report.BenchmarkReport("demo", 3, {"total_ms": 12.345678}, peers, {"peft": 9.963}, {})
    path = made.write(tmp_path / "deep" / "demo.json")
    document = json.loads(path.read_text())
    assert list(document) == ["name", "command", "machine", "versions", "n", "metrics", "peers", "ratios"]
    assert document["metrics"] == {"total_ms": 12.346}
    assert document["peers"]["peft"]["total_ms"] == 123
    assert document["command"].startswith("python ")
    assert {"processor", "cores", "threads"} <= document["machine"].keys()
    assert {"python", "torch"} <= document["versions"].keys()


def test_our_version_is_that_of_the_source_whatever_was_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda package: "0.0.1")
    monkeypatch.setattr(provenance, "version", lambda package: "0.0.1")
    found = provenance.versions.__wrapped__(("torch",))
    assert found["torch"] == "0.0.1" and found["loraloop"] == __version__ == own_version().version != "0.0.1"
    assert f'__version__ = "{__version__}"' in Path(loraloop.__file__).read_text(encoding="utf-8")


def test_a_file_has_the_name_that_it_is_written_under(report: ModuleType, tmp_path: Path) -> None:
    report.finish(report.BenchmarkReport("demo", 3, {"total_ms": 1.0}), tmp_path / "demo_qwen.json")
    assert json.loads((tmp_path / "demo_qwen.json").read_text())["name"] == "demo_qwen"


def test_make_has_the_command_of_each_committed_result(tmp_path: Path) -> None:
    (tmp_path / "DATA" / "tools").mkdir(parents=True)
    documents = [json.loads(path.read_text()) for path in sorted((FOLDER / "results").glob("*.json"))]
    wanted = {each["name"]: each["command"] for each in documents if each["command"].startswith("python ")}
    assert len(wanted) > 20
    given = ["LLAMA_PYTHON=PYTHON", "BFCL_PYTHON=PYTHON", "LLAMA_SERVER=FILE", "GGUF=FILE"]
    given += [f"DATA={tmp_path / 'DATA'}", "VENV=v"]
    ready = [part for name in ("v/.test", "build/vllm/.ready", "build/ray/.test") for part in ("-o", name)]
    command = ["make", "-n", *ready, *given, *(f"bench-{name}" for name in wanted)]
    done = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=True)
    text = done.stdout.replace(f"{tmp_path}/", "").replace("build/vllm/bin/python", "PYTHON")
    text = text.replace("build/ray/bin/", "").replace("v/bin/", "")

    def words(line: str) -> tuple[str, ...]:
        return tuple(sorted(shlex.split(line.partition(" --json ")[0])))

    made = {words(line) for line in text.splitlines()}
    assert [line for line in wanted.values() if words(line) not in made] == []


@pytest.mark.parametrize("tiles", [True, False])
def test_a_machine_with_tiles_is_another_one(report: ModuleType, monkeypatch: pytest.MonkeyPatch, tiles: bool) -> None:
    """Its products are two to three times as fast as those of a processor that has vectors alone."""
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: tiles)
    assert report.machine()["processor"].endswith(", AMX)") == tiles


@pytest.mark.parametrize("value", [math.nan, math.inf, None, True, "1"])
def test_a_number_that_is_none_is_refused(report: ModuleType, value: object) -> None:
    with pytest.raises(ValueError, match=r"metrics\.x"):
        report.BenchmarkReport("demo", 1, {"x": value}).document()


def test_the_table_shows_every_system(report: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    peers = {"peft": {"total_ms": 1234.0, "extra": 1}}
    report.BenchmarkReport("demo", 3, {"total_ms": 12.3}, peers, {"peft": 100.3}).show()
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("loraloop", "peft", "12.3", "1,234", "extra", "100×"))


def test_spread_of_one_value(report: ModuleType) -> None:
    assert report.spread("ms", [2.0]) == {"ms_median": 2.0, "ms_p10": 2.0, "ms_p90": 2.0}


def test_a_command_holds_no_path_of_this_machine(report: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    script = str(FOLDER / "demo.py")
    given = [
        "--llama-python",
        "/opt/x/bin/python",
        "--json",
        str(FOLDER / "results" / "demo.json"),
        "--base",
        "/m/a.gguf",
    ]
    monkeypatch.setattr(sys, "argv", [script, *given, "--limit", "2"])
    shown = report.command_line()
    assert shown == (
        "python benchmarks/demo.py --llama-python PYTHON --json benchmarks/results/demo.json --base a.gguf --limit 2"
    )
    monkeypatch.setattr(sys, "argv", [script, "--data", str(FOLDER), "--data", "/m/tools/sgd.eval.jsonl"])
    assert report.command_line() == "python benchmarks/demo.py --data DATA --data sgd.eval.jsonl"
