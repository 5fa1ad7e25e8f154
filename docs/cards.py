"""Writes the scores of the shipped skills and the router onto their cards, from benchmarks/results.

python docs/cards.py            rewrite the cards
python docs/cards.py --check    exit with 1 if a card differs from the results
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
LIBRARY = ROOT / "adapters" / "library"
GATED = {"safety": ("pipeline", "verdict", "screen")}
"""Skills that decide together with the router's screen: what their evaluation (`NAME.json`) measures of it."""
ROUTER = ROOT / "router" / "weights" / "router.json"
MEASURED = (
    "macro_f1",
    "tools_present.macro_f1",
    "tools_absent.macro_f1",
    "ece",
    "screen.recall",
    "screen.false_positives",
)


def scores(skill: str) -> dict[str, Any]:
    """Base and skill on each measure, with n, and the commands that measured them."""
    found: dict[str, Any] = {}
    for path in sorted(RESULTS.glob(f"skill_{skill}*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        ours, base = document["metrics"], document["peers"]["base"]
        for name in ours:
            if f"{name}_n" in ours:
                found[name] = {"base": base[name], "skill": ours[name], "n": ours[f"{name}_n"]}
        found.setdefault("commands", []).append(document["command"])
    if skill in GATED and (path := RESULTS / f"{skill}.json").exists():
        gate = gate_scores(json.loads(path.read_text(encoding="utf-8")), GATED[skill])
        commands = [*found.pop("commands", []), *gate.pop("commands")]
        found |= {**gate, "commands": commands}
    return found


def gate_scores(document: dict[str, Any], systems: tuple[str, ...]) -> dict[str, Any]:
    """The whole pipeline and its parts on each measure, with interval and n; the first system is the document's own."""
    found: dict[str, Any] = {}
    for system in systems:
        figures = document["metrics"] if system == systems[0] else document["peers"][system]
        for name in figures:
            if f"{name}_n" in figures:
                interval = [figures[f"{name}_low"], figures[f"{name}_high"]]
                found[f"{system}/{name}"] = {"value": figures[name], "interval": interval, "n": figures[f"{name}_n"]}
    found["commands"] = [document["command"]]
    return found


def router_scores() -> dict[str, Any]:
    """The router's figures by split, with intervals where there are some, and the command that measured them."""
    document = json.loads((RESULTS / "router.json").read_text(encoding="utf-8"))
    metrics, found = document["metrics"], {}
    for split in ("eval", "cross"):
        for name in MEASURED:
            keys = (f"{name}/{split}", f"{name}_low/{split}", f"{name}_high/{split}")
            values = [round(metrics[key], 3) for key in keys if key in metrics]
            if values:
                interval = f" ({values[1]}–{values[2]})" if len(values) == 3 else ""
                found[f"{name}/{split}"] = f"{values[0]}{interval}"
    found |= {f"n/{split}": metrics[f"n/{split}"] for split in ("eval", "cross")}
    if "ms" in metrics:
        found["ms"] = metrics["ms"]
    return {**found, "command": document["command"]}


def main(arguments: list[str] | None = None) -> int:
    """Rewrites or checks the cards; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write measured scores onto the cards of the shipped skills.")
    parser.add_argument("--check", action="store_true", help="only say which cards differ")
    check = parser.parse_args(arguments).check
    stale = []
    for path in [*sorted(LIBRARY.glob("*/card.json")), ROUTER]:
        before = path.read_text(encoding="utf-8")
        card = json.loads(before)
        if path == ROUTER:
            card["card"]["measured"] = router_scores()
        else:
            card["scores"] = scores(card["name"])
        after = json.dumps(card, indent=1 if path == ROUTER else 2, ensure_ascii=False) + "\n"
        if after != before:
            stale.append("router" if path == ROUTER else card["name"])
            if not check:
                path.write_text(after, encoding="utf-8")
    if check and stale:
        sys.stderr.write(f"{', '.join(stale)}: cards differ from benchmarks/results; run `make docs`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
