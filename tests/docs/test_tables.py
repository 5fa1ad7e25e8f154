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


def test_the_cards_agree_with_the_results():
    spec = importlib.util.spec_from_file_location("docs_cards", ROOT / "docs" / "cards.py")
    cards = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cards)
    assert cards.main(["--check"]) == 0


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "results").glob("*.json")), ids=lambda path: path.stem)
def test_a_results_file_has_the_agreed_form(path):
    document = json.loads(path.read_text(encoding="utf-8"))
    assert set(document) >= SECTIONS
    assert document["name"] == path.stem
    for figures in (document["metrics"], *document["peers"].values(), document["ratios"]):
        assert all(isinstance(value, int | float) for value in figures.values())
    assert document["command"] in tables.table(path.stem)


def test_aims_are_held_against_results(tmp_path, monkeypatch):
    metrics = {
        "f1": 0.5,
        "f1_low": 0.4,
        "f1_high": 0.6,
        "f1_n": 8,
        "ece/cross": 0.02,
        "n/cross": 5,
        "ms": 2100,
        "words": 0.3,
    }
    document = {"name": "x", "command": "c", "n": 9, "metrics": metrics, "peers": {"base": {"words": 0.2}}}
    (tmp_path / "x.json").write_text(json.dumps(document))
    measures = [["F1", "f1", ">=", 0.5], ["error", "ece/cross", "<=", 0.01], ["time", "ms", "<=", 2000]]
    measures.append(["F1 of words", "words", ">=", "2 base"])
    (tmp_path / "aims.json").write_text(json.dumps([{"part": "p", "result": "x", "measures": measures}]))
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    monkeypatch.setattr(tables, "AIMS", tmp_path / "aims.json")
    rows = [line.strip("| ").split(" | ") for line in tables.table("aims").splitlines()[2:6]]
    assert rows == [
        ["p: F1", "≥ 50", "50.0 (40–60)", "8", "yes"],
        ["p: error", "≤ 1", "2.0", "5", "no"],
        ["p: time", "≤ 2\u202f000", "2\u202f100", "9", "no"],
        ["p: F1 of words", "≥ 40", "30.0", "9", "no"],
    ]


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


def test_markers_choose_sections_and_figures(tmp_path, monkeypatch):
    document = {
        "name": "sample",
        "command": "c",
        "machine": "m",
        "n": 3,
        "details": {"phases": {"a/ms": 1.25}},
        "metrics": {"first/x": 1, "last/x": 2},
        "peers": {"peft": {"first/x": 3, "last/x": 4}},
        "ratios": {"r": 2},
    }
    (tmp_path / "sample.json").write_text(json.dumps(document))
    monkeypatch.setattr(tables, "RESULTS", tmp_path)

    def made(marker: str) -> str:
        return tables.rewritten(f"<!-- table: {marker} -->\n<!-- end -->")

    assert "| a | 1.25 |" in made("sample.phases")
    assert "| first/x | 1 | 3 |" in made("sample") and "r 2×." in made("sample")
    assert "| first | 1 |" in made("sample ours") and "peft" not in made("sample ours")
    assert "first" not in made("sample ours [last/*]") and "| last | 2 |" in made("sample ours [last/*]")


def test_all_skills_are_one_table(tmp_path, monkeypatch):
    figures = {"accuracy": 0.5, "accuracy_n": 40, "accuracy_low": 0.4, "accuracy_high": 0.6, "step_ms": 3}
    document = {"command": "c", "metrics": figures, "peers": {"base": {**figures, "accuracy": 0.1}}}
    (tmp_path / "skill_code.json").write_text(json.dumps(document))
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert "| code | accuracy | 40 | 10.0 (40–60) |  | 50.0 (40–60) |" in tables.table("skills")
    assert "accuracy" in tables.table("skills", False, ["code/acc*"])
    assert "accuracy" not in tables.table("skills", False, ["tools/*"])


def test_what_was_not_measured_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    page = "<!-- table: sample.part if measured -->\nold\n<!-- end -->"
    assert "Not measured." in tables.rewritten(page)
    document = {"name": "sample", "command": "c", "n": 1, "metrics": {}, "details": {}}
    (tmp_path / "sample.json").write_text(json.dumps(document))
    assert "Not measured." in tables.rewritten(page)
    (tmp_path / "sample.json").write_text(json.dumps(document | {"details": {"part": {"a/ms": 1.5}}}))
    assert "| a | 1.5 |" in tables.rewritten(page)


def test_a_picture_stands_where_it_exists(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "PLOTS", tmp_path / "plots")
    page = "<!-- plot: sample | what it shows -->\nold\n<!-- end -->"
    assert tables.rewritten(page) == "<!-- plot: sample | what it shows -->\n<!-- end -->"
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "sample.svg").write_text("")
    assert "![what it shows](plots/sample.svg)" in tables.rewritten(page)
