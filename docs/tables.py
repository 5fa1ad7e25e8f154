"""Writes the tables of README.md and docs/*.md from the documents in benchmarks/results.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``. NAME is a results file without ``.json``, which
holds ``{"name", "command", "machine", "versions", "n", "metrics", "peers", "ratios"}``; ``NAME.SECTION`` is a section
of its ``details``. ``docs/tables.toml`` says, under NAME, which metrics are shown, in their order, and what people read
in place of the key; lines of the form ``pattern = words`` between NAME and ``-->`` go before it. A metric ``a/b`` is
row a, column b; a metric ``x`` with ``x_low`` and ``x_high`` is a share, printed in percent with its interval.

    python docs/tables.py            rewrite the pages
    python docs/tables.py --check    exit with 1 if a page differs from the results
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ROWS: dict[str, dict[str, str]] = tomllib.loads((ROOT / "docs" / "tables.toml").read_text(encoding="utf-8"))
MARKED = re.compile(r"(<!-- table: (?P<name>[\w.-]+)(?P<rows>[^>]*?)\s*-->\n).*?(?P<end><!-- end -->)", re.DOTALL)
COMPANION = re.compile(r"_(low|high|n)(?=/|$)")  # of a share: the ends of its interval, and its number of examples
MACHINE = "AMD EPYC (AVX512), 2 cores, 24 GB"  # named once on results.md
UNMEASURED = "Not measured on this release.\n"


def number(value: Any) -> str:
    """A figure as people read it: three significant digits, thousands apart."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or float(value).is_integer() or abs(value) >= 100:
        return f"{round(value):,}".replace(",", "\u202f")
    return f"{value:.3g}"


def cell(figures: dict[str, Any], name: str) -> str:
    """One figure; a share with its 95 % interval in percent."""
    row, slash, column = name.partition("/")
    ends = ((f"{name}_{end}", f"{row}_{end}{slash}{column}") for end in ("low", "high"))
    low, high = (figures.get(inside, figures.get(outside)) for inside, outside in ends)
    if low is not None and high is not None and name in figures:
        return f"{100 * figures[name]:.1f} % ({100 * low:.0f}–{100 * high:.0f})"
    return number(figures[name]) if name in figures else ""


def columns_of(document: dict[str, Any], section: str) -> dict[str, dict[str, Any]]:
    """Columns by name, each with its figures by row."""
    figures = document["details"][section] if section else document["metrics"]
    split = any("/" in name for name in figures)
    if split and (section or not document.get("peers")):
        columns: dict[str, dict[str, Any]] = {}
        for name, value in figures.items():
            row, _, column = name.rpartition("/")
            columns.setdefault(column, {})[row] = value
        return columns
    return {"loraloop": figures, **({} if section else document.get("peers") or {})}


def table(name: str, wanted: str = "", brief: bool = False) -> str:
    """The Markdown of one table, with a line that says where it comes from.

    Args:
        name: A results file without `.json`, or one with a section of its details, `NAME.SECTION`.
        wanted: Lines that choose the rows; those of `tables.toml` where empty.
        brief: Whether the line leaves out the usual machine, which the page names once.

    Raises:
        SystemExit: a pattern fits no figure.
    """
    stem, _, section = name.partition(".")
    path = RESULTS / f"{stem}.json"
    if not path.exists():
        return UNMEASURED
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if section and section not in document.get("details", {}):
        return UNMEASURED
    columns = columns_of(document, section)
    known = list(dict.fromkeys(row for figures in columns.values() for row in figures if not COMPANION.search(row)))
    rows: dict[str, str] = {}
    lines = [line.partition("=") for line in wanted.splitlines() if line.strip()]
    chosen = {pattern.strip(): words.strip() for pattern, _, words in lines} or ROWS.get(name, {})
    for pattern, words in chosen.items():
        found = [row for row in known if fnmatchcase(row, pattern)]
        if not found:
            raise SystemExit(f"the table {name}: no figure of {path.name} is called {pattern!r}")
        rows.update({row: words or row.replace("_", " ") for row in found})
    rows = rows or {row: row.replace("_", " ") for row in known}
    columns = {column: figures for column, figures in columns.items() if figures.keys() & rows.keys()}
    made = [f"||{'|'.join(columns)}|", f"|---|{'---:|' * len(columns)}"]
    for row, words in rows.items():
        made.append(f"|{words}|{'|'.join(cell(figures, row) for figures in columns.values())}|")
    machine = document.get("machine", "")
    if isinstance(machine, dict):
        usual = brief and ", ".join(str(machine.get(key)) for key in ("processor", "cores", "memory")) == MACHINE
        machine = ", ".join(str(value) for key, value in machine.items() if key in ("threads", "load") or not usual)
        machine = re.sub(r"\(R\)| Processor", "", machine)
        machine = re.sub(r"\b(\d+) cores, \1 threads", r"\1 cores", machine)
    version = f"loraloop {document['versions']['loraloop']}; " if "loraloop" in document.get("versions", {}) else ""
    return "\n".join(made) + f"\n\nn = {number(document.get('n'))}; {version}{machine}; `{document['command']}`\n"


def _filled(found: re.Match[str], brief: bool) -> str:
    """A marked place of a page with its table."""
    return f"{found[1]}{table(found['name'], found['rows'], brief)}{found['end']}"


def main(arguments: list[str] | None = None) -> int:
    """Rewrites or checks the pages; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the tables of the README and docs from benchmarks/results.")
    parser.add_argument("--check", action="store_true", help="only say which pages differ")
    check = parser.parse_args(arguments).check
    stale = []
    for path in PAGES:
        before = path.read_text(encoding="utf-8")
        after = MARKED.sub(partial(_filled, brief=path.name == "results.md"), before)
        if after != before:
            stale.append(path.relative_to(ROOT).as_posix())
            if not check:
                path.write_text(after, encoding="utf-8")
    if check and stale:
        sys.stderr.write(f"{', '.join(stale)}: tables differ from benchmarks/results; run `make docs`\n")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
