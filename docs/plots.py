"""Draws docs/plots/*.svg from the documents in benchmarks/results.

Each picture carries a fingerprint of the numbers in it, and is stale where that differs from the results; its bytes may
change with matplotlib's version. A picture whose results do not exist is not drawn. Pictures have no background, and
greys and colours (Okabe and Ito's, for all kinds of colour vision) that read on a light and on a dark page.

    python docs/plots.py            draw what is missing or stale
    python docs/plots.py --all      draw everything
    python docs/plots.py --check    exit with 1 if a picture differs from the results
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import plot_data
import plot_style

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PLOTS = ROOT / "docs" / "plots"
MARK = re.compile(r"data sha256 ([0-9a-f]{64})")

Numbers = dict[str, Any]
PICTURES: dict[str, tuple[tuple[str, ...], Callable[..., Numbers], Callable[[Numbers], Any]]] = {
    "switch": (("switch",), plot_data.switch, plot_style.lines),
    "decode": (("decode",), plot_data.decode, plot_style.dots),
    "decode_qwen": (("decode_qwen",), plot_data.decode, plot_style.dots),
    "overhead": (("decode",), plot_data.overhead, plot_style.bars),
    "rows": (("decode",), plot_data.rows, plot_style.lines),
    "prefill": (("decode",), plot_data.prefill, plot_style.bars),
    "episode": (("episode",), plot_data.episode, plot_style.lines),
    "bank": (("bank",), plot_data.bank, plot_style.dots),
    "memory": (("memory",), plot_data.memory, plot_style.stacked),
    "mixed_batch": (("mixed_batch",), plot_data.mixed_batch, plot_style.bars),
    "vllm_peer": (("vllm_peer",), plot_data.vllm, plot_style.dots),
}
"""By name: the results it is drawn from, what of them is shown, and how."""


def numbers(name: str) -> Numbers | None:
    """What a picture shows; None where its results do not exist."""
    sources, chosen, _ = PICTURES[name]
    paths = [RESULTS / f"{source}.json" for source in sources]
    if not all(path.exists() for path in paths):
        return None
    return chosen(*(json.loads(path.read_text(encoding="utf-8")) for path in paths))


def fingerprint(shown: Numbers) -> str:
    """Of the numbers and words in a picture."""
    return hashlib.sha256(json.dumps(shown, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def carried(path: Path) -> str | None:
    """The fingerprint that a picture carries."""
    found = MARK.search(path.read_text(encoding="utf-8")) if path.exists() else None
    return found[1] if found else None


def stale() -> list[str]:
    """Names of the pictures that differ from the results, or should not exist."""
    found = []
    for name in PICTURES:
        shown = numbers(name)
        if carried(PLOTS / f"{name}.svg") != (None if shown is None else fingerprint(shown)):
            found.append(name)
    return found


def draw(name: str) -> None:
    """Draws one picture, or removes it where its results do not exist."""
    path, shown = PLOTS / f"{name}.svg", numbers(name)
    if shown is None:
        path.unlink(missing_ok=True)
        return
    PLOTS.mkdir(parents=True, exist_ok=True)
    plot_style.save(PICTURES[name][2](shown), path, shown["title"], f"data sha256 {fingerprint(shown)}")


def main(arguments: list[str] | None = None) -> int:
    """Draws or checks the pictures; returns the exit code."""
    parser = argparse.ArgumentParser(description="Draw docs/plots/*.svg from benchmarks/results.")
    parser.add_argument("--check", action="store_true", help="only say which pictures differ")
    parser.add_argument("--all", action="store_true", help="draw also those that agree")
    given = parser.parse_args(arguments)
    wanted = list(PICTURES) if given.all else stale()
    if given.check:
        if wanted:
            sys.stderr.write(f"{', '.join(wanted)}: pictures differ from benchmarks/results; run `make docs`\n")
        return int(bool(wanted))
    for name in wanted:
        draw(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
