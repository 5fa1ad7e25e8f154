"""The tables on the pages are those of the committed results."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("docs_tables", ROOT / "docs" / "tables.py")
tables = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tables)

SECTIONS = {"name", "command", "machine", "versions", "n", "metrics", "peers", "ratios"}


def test_the_pages_agree_with_the_results():
    assert tables.main(["--check"]) == 0
    assert tables.MACHINE in (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "results").glob("*.json")), ids=lambda path: path.stem)
def test_a_results_file_has_the_agreed_form(path):
    document = json.loads(path.read_text(encoding="utf-8"))
    assert set(document) >= SECTIONS
    assert document["name"] == path.stem
    for figures in (document["metrics"], *document["peers"].values(), document["ratios"]):
        assert all(isinstance(value, int | float) for value in figures.values())
    assert document["command"] in tables.table(path.stem)


def test_rows_have_words_and_shares_have_intervals(tmp_path, monkeypatch):
    metrics = {"switch_1500_ms": 34.7, "right": 0.5, "right_low": 0.4, "right_high": 0.6}
    document = {
        "name": "x",
        "command": "c",
        "machine": "m",
        "n": 1000,
        "metrics": metrics,
        "peers": {"peft": {"right": 0.25}},
    }
    (tmp_path / "x.json").write_text(json.dumps(document))
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    made = tables.table("x", "right = right answers\nswitch_* = switch at 1 500 tokens, ms")
    assert made.splitlines()[2:4] == [
        "|right answers|50.0 % (40–60)|0.25|",
        "|switch at 1 500 tokens, ms|34.7||",
    ]
    assert "n = 1\u202f000; m; `c`" in made
    with pytest.raises(SystemExit, match="'wrong'"):
        tables.table("x", "wrong = nothing")
    assert tables.table("missing") == tables.UNMEASURED
