"""The page on bases: its blocks run, and its tables say what the code says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from loraloop.adapters.base.config import ARCHITECTURES
from loraloop.adapters.base.loading.catalog import CATALOG, DEFAULT
from loraloop.adapters.base.loading.kquants import CODES, FINE, PLAIN
from loraloop.adapters.base.loading.quantize import FORMS

PAGE = Path(__file__).parents[2] / "docs" / "bases.md"
TEXT = PAGE.read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table whose first heading this is."""
    after = TEXT[TEXT.index(f"| {heading} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in after]


def test_every_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "bases_page"}
    blocks = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        here = block.replace("qwen2.5-coder-1.5b", DEFAULT)
        exec(compile(here, f"{PAGE.name}, block {number + 1}", "exec"), names)
    printed = capsys.readouterr().out
    assert "('tools',) ProxyRouter" in printed


def test_the_catalog_is_the_catalog() -> None:
    listed = {cells[0].strip("`"): cells for cells in rows("name")}
    assert set(listed) == set(CATALOG)
    for name, entry in CATALOG.items():
        _, _, licence, size, source = listed[name]
        assert licence == entry.licence and size == f"{entry.size:_} bytes".replace("_", " ")
        assert entry.members[0].package in source and entry.members[0].version in source
        assert entry.hub is None or entry.hub[0] in source


def test_architectures_forms_and_kinds_are_all_there() -> None:
    assert [cells[0].strip("`") for cells in rows("architecture")] == list(ARCHITECTURES)
    assert set(re.findall(r"`(\w+)`", " ".join(cells[0] for cells in rows("`quantize=`")))) == set(FORMS)
    becomes = {kind: cells[1] for cells in rows("kind in the file") for kind in cells[0].split(", ")}
    assert {kind for kind, form in becomes.items() if form == "int4"} == {*CODES, *PLAIN}
    assert {kind for kind, form in becomes.items() if form == "int8" and not kind.startswith("any kind")} - {
        "of the embedding or head"
    } == set(FINE)


def test_the_table_of_memory_is_made_of_the_committed_results() -> None:
    results = Path(__file__).parents[2] / "benchmarks" / "results"

    def figures(name: str) -> dict[str, Any]:
        return json.loads((results / f"{name}.json").read_text(encoding="utf-8"))

    agents = figures("agents")["metrics"] | figures("agents_qwen")["metrics"]
    decode, decode_qwen = figures("decode"), figures("decode_qwen")
    small, large = (each["details"]["bytes"]["loraloop"] for each in (decode, decode_qwen))
    known: dict[str, list[float]] = {
        "weights that a token reads": [small["weights"] / 1e6, large["weights"] / 1e9],
        "keys and values of a token": [small["kv_token"] / 1e3, large["kv_token"] / 1e3],
        "a skill of rank 16 on all linear modules": [small["skill"] / 1e6, large["skill"] / 1e6],
        "the server under 16 clients for half an hour": [figures("serve_memory")["metrics"]["rss_last_mb"] / 1e3],
    }
    for row, key in [
        ("caches of 16 agents with 1 500 shared tokens", "free, mixed, shared prefix, 16, MB"),
        ("one agent, tokens/s", "free, mixed, 1, tokens_per_s"),
        ("16 agents together, tokens/s", "free, mixed, 16, tokens_per_s"),
    ]:
        known[row] = [agents[f"{base}: {key}"] for base in ("smollm2-135m", "qwen2.5-coder-1.5b")]
    table = TEXT[TEXT.index("| | SmolLM2-135M |") :].split("\n\n")[0].splitlines()[2:]
    listed = {cells[0]: cells for cells in ([cell.strip() for cell in line.strip("|").split("|")] for line in table)}
    assert set(listed) - {"file to fetch"} == set(known)
    for row, values in known.items():
        shown = [float(cell.split()[0]) for cell in listed[row][1:3] if cell != "–"]
        assert shown == pytest.approx(values, rel=0.02), row
