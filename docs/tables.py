"""Writes the tables of README.md and docs/*.md from the documents in benchmarks/results.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``; NAME is that of a results file without ``.json``,
which holds ``{"name", "command", "machine", "versions", "n", "metrics", "peers", "ratios"}``. A metric whose name has a
slash is a row and a column (``"tools/skill": 0.61``); other metrics are rows of one column.

    python docs/tables.py            rewrite the pages
    python docs/tables.py --check    exit with 1 if a page differs from the results
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MARKED = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def number(value: Any) -> str:
    """A figure as people read it: three significant digits, thousands apart."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}".replace(",", "\u202f")
    if abs(value) >= 100:
        return f"{value:,.0f}".replace(",", "\u202f")
    digits = f"{value:.3g}"
    return f"{value:.2e}" if "e" in digits and abs(value) < 1e-3 else digits


def grid(metrics: dict[str, Any]) -> list[list[str]]:
    """Header and rows of metrics; ``a/b`` is row a, column b."""
    split = {name: tuple(name.rsplit("/", 1)) if "/" in name else (name, "") for name in metrics}
    rows = list(dict.fromkeys(row for row, _ in split.values()))
    columns = list(dict.fromkeys(column for _, column in split.values()))
    if columns == [""]:
        return [["", "value"], *([row, number(metrics[row])] for row in rows)]
    cells = {split[name]: number(value) for name, value in metrics.items()}
    return [["", *columns], *([row, *(cells.get((row, column), "") for column in columns)] for row in rows)]


def with_peers(document: dict[str, Any]) -> list[list[str]]:
    """Metrics as rows; ours and each peer's as columns."""
    metrics, peers = (document.get(key) or {} for key in ("metrics", "peers"))
    named = list(dict.fromkeys([*metrics, *(name for peer in peers.values() for name in peer)]))
    rows = [["", "loraloop", *peers]]
    for name in named:
        rows.append([name, number(metrics.get(name)), *(number(peer.get(name)) for peer in peers.values())])
    return rows


def markdown(rows: list[list[str]]) -> str:
    """A Markdown table; the first row is its header, all columns but the first are numbers."""
    header, *body = rows
    lines = [f"| {' | '.join(header)} |", f"| --- |{' ---: |' * (len(header) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in body)]) + "\n"


def table(name: str) -> str:
    """The table of one results file, with a line that says where it comes from."""
    path = RESULTS / f"{name}.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SystemExit(f"{path.relative_to(ROOT)} is missing, which a page shows: run its benchmark") from error
    peers = document.get("peers") or {}
    text = markdown(with_peers(document) if peers else grid(document["metrics"]))
    ratios = document.get("ratios") or {}
    if ratios:
        said = ", ".join(f"{key} {number(value)}×" for key, value in ratios.items())
        text += f"\n{said}.\n"
    machine = document.get("machine", "")
    if isinstance(machine, dict):
        machine = ", ".join(str(value) for value in machine.values())
    n = document.get("n")
    counted = f"n = {number(n)}; " if n and not isinstance(n, dict) else ""
    if isinstance(n, dict):
        counted = "n = " + ", ".join(f"{number(count)} ({key})" for key, count in n.items()) + "; "
    return f"{text}\n{counted}{machine}; `{document['command']}`\n"


def rewritten(page: str) -> str:
    """A page with its tables made anew."""
    return MARKED.sub(lambda found: f"{found[1]}{table(found['name'])}{found[3]}", page)


def main(arguments: list[str] | None = None) -> int:
    """Rewrites or checks the pages; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the tables of the README and docs from benchmarks/results.")
    parser.add_argument("--check", action="store_true", help="only say which pages differ")
    check = parser.parse_args(arguments).check
    stale = []
    for path in PAGES:
        before = path.read_text(encoding="utf-8")
        after = rewritten(before)
        if after == before:
            continue
        stale.append(path.relative_to(ROOT).as_posix())
        if not check:
            path.write_text(after, encoding="utf-8")
    if check and stale:
        sys.stderr.write(f"{', '.join(stale)}: tables differ from benchmarks/results; run `make docs`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
