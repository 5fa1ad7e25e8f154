"""Writes the tables of README.md and docs/*.md from the documents in benchmarks/results.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``. NAME is that of a results file without ``.json``,
which holds ``{"name", "command", "machine", "versions", "n", "metrics", "peers", "ratios"}``; ``NAME.SECTION`` is a
section of its ``details``; ``skills`` is all of ``skill_*.json`` together, and ``safety``, whose skill is measured
as the gate that it is part of; ``aims`` holds results against what was aimed at (``aims.json``). A metric whose name
has a slash is a row and a column (``"first/eval": 0.61``), others are rows of one column. After NAME may stand ``ours``
(leave the peers out) and, in brackets, patterns of the metrics to show: ``<!-- table: router ours [macro_f1/*] -->``.
``if measured`` at the end lets a page say so where a result does not exist, as that of a peer that is not installed
everywhere.

A plot stands between ``<!-- plot: NAME | what it shows -->`` and ``<!-- end -->``: the picture docs/plots/NAME.svg,
where it exists; `plots.py` draws it.

    python docs/tables.py            rewrite the pages
    python docs/tables.py --check    exit with 1 if a page differs from the results
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PLOTS = ROOT / "docs" / "plots"
AIMS = ROOT / "docs" / "aims.json"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MARKED = re.compile(
    r"(<!-- table: (?P<name>[\w.-]+)(?P<ours> ours)?( \[(?P<only>[^\]]*)\])?(?P<maybe> if measured)? -->\n)"
    r".*?(?P<end><!-- end -->)",
    re.DOTALL,
)
PLOT = re.compile(r"(<!-- plot: (?P<name>[\w-]+) \| (?P<what>[^>]*?) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)


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


def read(name: str) -> dict[str, Any]:
    """One results file.

    Raises:
        SystemExit: It is missing.
    """
    path = RESULTS / f"{name}.json"
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SystemExit(f"benchmarks/results/{path.name} is missing, which a page shows: run its benchmark") from error
    return document


def source(document: dict[str, Any]) -> str:
    """Where figures come from: how many, on what, by which command."""
    machine, n = document.get("machine", ""), document.get("n")
    if isinstance(machine, dict):
        machine = ", ".join(str(value) for value in machine.values())
    return f"n = {number(n)}; {machine}; `{document['command']}`\n"


def table(name: str, ours: bool = False, patterns: Sequence[str] = ()) -> str:
    """The table of one results file, with a line that says where it comes from."""
    if name == "skills":
        return skills_table(patterns)
    if name == "aims":
        return aims_table()
    stem, _, section = name.partition(".")
    document = read(stem)
    if section:
        return f"{markdown(grid(chosen(document['details'][section], patterns)))}\n{source(document)}"
    metrics = chosen(document["metrics"], patterns)
    peers = {} if ours else document.get("peers") or {}
    shown = {peer: chosen(figures, patterns) for peer, figures in peers.items()}
    text = markdown(with_peers({"metrics": metrics, "peers": shown}) if peers else grid(metrics))
    ratios = document.get("ratios") or {}
    if ratios and not ours:
        text += "\n" + ", ".join(f"{key} {number(value)}×" for key, value in ratios.items()) + ".\n"
    return f"{text}\n{source(document)}"


def chosen(figures: dict[str, Any], patterns: Sequence[str]) -> dict[str, Any]:
    """The figures whose names fit one of the patterns, in the patterns' order; all without any."""
    if not patterns:
        return figures
    return {name: value for pattern in patterns for name, value in figures.items() if fnmatchcase(name, pattern)}


def skills_table(patterns: Sequence[str] = ()) -> str:
    """The shipped skills against the bare base under the same grammar, in percent with 95 % intervals.

    Patterns pick rows by `skill/measure`.
    """
    rows, commands = [["skill", "measure", "n", "base", "base, told the form", "skill"]], []
    for path in sorted(
        [*RESULTS.glob("skill_*.json"), *RESULTS.glob("safety.json")], key=lambda path: _skill(path.stem)
    ):
        document = read(path.stem)
        metrics, peers = document["metrics"], document["peers"]
        commands.append(document["command"])
        for name in metrics:
            skill = _skill(path.stem)
            wanted = not patterns or any(fnmatchcase(f"{skill}/{name}", pattern) for pattern in patterns)
            if f"{name}_n" in metrics and wanted:
                cells = [
                    percent(figures, name) for figures in (peers.get("base", {}), peers.get("base_told", {}), metrics)
                ]
                rows.append([skill.replace("_", ", "), name.replace("_", " "), number(metrics[f"{name}_n"]), *cells])
    if not commands:
        raise SystemExit("benchmarks/results/skill_*.json is missing, which a page shows: run `make eval`")
    listed = ", ".join(f"`{command}`" for command in commands)
    return f"{markdown(rows)}\nPercent, with 95 % intervals; {listed}\n"


def aims_table() -> str:
    """What was aimed at, of each part of the product, beside what its result says; shares in percent with intervals."""
    rows, commands = [["", "aim", "measured", "n", "reached"]], []
    for part in json.loads(AIMS.read_text(encoding="utf-8")):
        document = read(part["result"])
        metrics, base = document["metrics"], document["peers"].get("base", {})
        commands.append(document["command"])
        for measure, name, sign, aim in part["measures"]:
            wanted = 2 * base[name] if aim == "2 base" else aim
            value, whole = metrics[name], name.endswith("ms")
            reached = value >= wanted if sign == ">=" else value <= wanted
            shown = number(wanted) if whole else f"{100 * wanted:.3g}"
            n = metrics.get(f"{name}_n") or metrics.get(f"n/{name.rpartition('/')[2]}") or document["n"]
            cells = [f"{'≥' if sign == '>=' else '≤'} {shown}", number(value) if whole else percent(metrics, name)]
            rows.append([f"{part['part']}: {measure}", *cells, number(n), "yes" if reached else "no"])
    listed = ", ".join(f"`{command}`" for command in dict.fromkeys(commands))
    return f"{markdown(rows)}\nShares in percent, with 95 % intervals; {listed}\n"


def _skill(stem: str) -> str:
    return stem.removeprefix("skill_")


def percent(figures: dict[str, Any], name: str) -> str:
    """A share with its interval."""
    if name not in figures:
        return ""
    measure, *split = name.rsplit("/", 1) if f"{name}_low" not in figures else (name,)
    low, high = (figures.get("/".join([f"{measure}_{end}", *split])) for end in ("low", "high"))
    interval = "" if low is None or high is None else f" ({100 * low:.0f}–{100 * high:.0f})"
    return f"{100 * figures[name]:.1f}{interval}"


def rewritten(page: str) -> str:
    """A page with its tables made anew."""

    def made(found: re.Match[str]) -> str:
        patterns = [pattern.strip() for pattern in (found["only"] or "").split(",") if pattern.strip()]
        if found["maybe"] and not measured(found["name"]):
            return f"{found[1]}Not measured.\n{found['end']}"
        return f"{found[1]}{table(found['name'], bool(found['ours']), patterns)}{found['end']}"

    def drawn(found: re.Match[str]) -> str:
        place = PLOTS / f"{found['name']}.svg"
        picture = f"![{found['what']}]({PLOTS.name}/{place.name})\n" if place.exists() else ""
        return f"{found[1]}{picture}{found['end']}"

    return PLOT.sub(drawn, MARKED.sub(made, page))


def measured(name: str) -> bool:
    """Whether there is a result of this name, with the section that it asks for."""
    stem, _, section = name.partition(".")
    path = RESULTS / f"{stem}.json"
    return path.exists() and (not section or section in read(stem).get("details", {}))


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
