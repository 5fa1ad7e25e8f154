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

SECTIONS = {"name", "command", "machine", "versions", "n", "metrics"}


def test_the_pages_agree_with_the_results():
    assert tables.main(["--check"]) == 0


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "results").glob("*.json")), ids=lambda path: path.stem)
def test_a_results_file_has_the_agreed_form(path):
    document = json.loads(path.read_text(encoding="utf-8"))
    assert set(document) >= SECTIONS
    assert document["name"] == path.stem
    for figures in (document["metrics"], *(document.get("peers") or {}).values(), document.get("ratios") or {}):
        assert all(isinstance(value, int | float) for value in figures.values())
    tables.table(path.stem)


def test_a_stale_page_is_noticed_and_rewritten(tmp_path, monkeypatch, capsys):
    results = tmp_path / "results"
    results.mkdir()
    (results / "sample.json").write_text(
        json.dumps({"name": "sample", "command": "c", "machine": "m", "n": 3, "metrics": {"a/x": 1.5, "a/y": 2}})
    )
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table: sample -->\nold\n<!-- end -->\nafter\n")
    monkeypatch.setattr(tables, "RESULTS", results)
    monkeypatch.setattr(tables, "PAGES", [page])
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    assert tables.main(["--check"]) == 1 and "page.md" in capsys.readouterr().err
    assert tables.main([]) == 0 and tables.main(["--check"]) == 0
    assert (
        "|  | x | y |\n| --- | ---: | ---: |\n| a | 1.5 | 2 |\n\nn = 3; m; `c`\n<!-- end -->\nafter" in page.read_text()
    )
    (results / "sample.json").unlink()
    with pytest.raises(SystemExit, match="run its benchmark"):
        tables.main(["--check"])


def test_peers_are_columns():
    rows = tables.with_peers({"metrics": {"total_s": 1.0}, "peers": {"peft": {"total_s": 12.5, "swap_ms": 2}}})
    assert rows == [["", "loraloop", "peft"], ["total_s", "1", "12.5"], ["swap_ms", "–", "2"]]
