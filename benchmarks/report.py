"""The options and the end of every benchmark; what it reports is `loraloop.render.report`.

A benchmark is run as `python benchmarks/<name>.py`, and with PYTHONSAFEPATH its own folder is not on the path, so it
starts with

    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from report import BenchmarkReport, options
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import environment  # noqa: F401

from loraloop.render.report import BenchmarkReport, command_line, machine, number, spread

__all__ = ["BenchmarkReport", "command_line", "finish", "machine", "number", "options", "quantile", "spread"]


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
    parser.add_argument("--threads", type=threads, metavar="T", help="threads of every system")
    return parser


def threads(text: str) -> int:
    """A number of threads, which torch is told."""
    import torch

    torch.set_num_threads(int(text))
    return int(text)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def finish(report: BenchmarkReport, json_path: Path | None) -> None:
    """Prints the table; writes the document where a path was given, under that file's name."""
    if json_path is not None:
        report = replace(report, name=json_path.stem)
        report.write(json_path)
        print(f"written: {json_path}", file=sys.stderr)
    report.show()
