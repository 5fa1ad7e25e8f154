"""The options and the end of every benchmark; what it reports is `loraloop.render.report`.

A benchmark is run as `python benchmarks/<name>.py`, and with PYTHONSAFEPATH its own folder is not on the path, so it
starts with

    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from report import BenchmarkReport, options
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from loraloop.render.report import BenchmarkReport, command_line, machine, number, spread

__all__ = ["BenchmarkReport", "command_line", "finish", "machine", "number", "options", "spread"]


def options(description: str, limit: int | None = None, seed: int = 0) -> argparse.ArgumentParser:
    """The options that every benchmark takes; add more to what it returns.

    Args:
        description: One line for `--help`.
        limit: Default of `--limit`; None is everything.
        seed: Default of `--seed`.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here")
    parser.add_argument("--limit", type=int, default=limit, metavar="N", help="bounds the work")
    parser.add_argument("--seed", type=int, default=seed, metavar="S")
    parser.add_argument("--threads", type=int, default=None, metavar="T", help="threads of every system")
    return parser


def finish(report: BenchmarkReport, json_path: Path | None) -> None:
    """Prints the table; writes the document where a path was given."""
    report.show()
    if json_path is not None:
        report.write(json_path)
        print(f"written: {json_path}", file=sys.stderr)
