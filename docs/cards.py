"""Writes the scores of the shipped skills onto their cards, from benchmarks/results/skill_*.json and safety.json.

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


def main(arguments: list[str] | None = None) -> int:
    """Rewrites or checks the cards; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write measured scores onto the cards of the shipped skills.")
    parser.add_argument("--check", action="store_true", help="only say which cards differ")
    check = parser.parse_args(arguments).check
    stale = []
    for path in sorted(LIBRARY.glob("*/card.json")):
        before = path.read_text(encoding="utf-8")
        card = json.loads(before)
        card["scores"] = scores(card["name"])
        after = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
        if after != before:
            stale.append(card["name"])
            if not check:
                path.write_text(after, encoding="utf-8")
    if check and stale:
        sys.stderr.write(f"{', '.join(stale)}: cards differ from benchmarks/results; run `make docs`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
