"""What every benchmark and evaluation reports: one JSON document, and a table of it."""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACKAGES = (
    *("torch", "transformers", "tokenizers", "peft", "outlines", "llguidance", "xgrammar"),
    *("jsonschema", "trl"),
)


@dataclass(frozen=True, slots=True)
class BenchmarkReport:
    """The result of one benchmark.

    Attributes:
        name: Name of the benchmark, and of its file in `benchmarks/results`.
        n: How many things were measured: steps, switches, examples.
        metrics: Ours, by name; the name ends in its unit (`total_ms`, `tokens_per_s`, `accuracy`).
        peers: Metrics of each peer, measured in the same run.
        ratios: Peer over ours, or base against skill; above 1 is better for us.
        details: Anything else worth keeping; absent from the document if empty.
        command: How to run it again; by default this process's own command line, relative to the repository.
    """

    name: str
    n: int
    metrics: Mapping[str, float]
    peers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    ratios: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""

    def document(self) -> dict[str, Any]:
        """The document that `--json` writes.

        Raises:
            ValueError: if a number is missing or not finite.
        """
        for what, numbers in {"metrics": self.metrics, "ratios": self.ratios, **self.peers}.items():
            for name, number in numbers.items():
                if not _finite(number):
                    raise ValueError(f"{self.name}: {what}.{name} is {number!r}, not a finite number")
        from loraloop.agent.tracing.provenance import versions  # it loads torch

        document: dict[str, Any] = {
            "name": self.name,
            "command": self.command or command_line(),
            "machine": machine(),
            "versions": versions(PACKAGES),
            "n": self.n,
            "metrics": _tidy(self.metrics),
            "peers": {peer: _tidy(numbers) for peer, numbers in self.peers.items()},
            "ratios": _tidy(self.ratios),
        }
        if self.details:
            document["details"] = dict(self.details)
        return document

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Writes the document; folders are made as needed."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.document(), indent=2, ensure_ascii=False, default=str)
        target.write_text(text + "\n", encoding="utf-8")
        return target

    def show(self) -> None:
        """Prints metrics, one column for each system, and the ratios."""
        from rich.console import Console
        from rich.table import Table

        console = Console()
        table = Table("", "loraloop", *self.peers, title=f"{self.name} (n = {self.n})")
        names = dict.fromkeys([*self.metrics, *(name for numbers in self.peers.values() for name in numbers)])
        for name in names:
            cells = [numbers.get(name) for numbers in (self.metrics, *self.peers.values())]
            table.add_row(name, *("" if cell is None else number(cell) for cell in cells))
        console.print(table)
        if self.ratios:
            console.print("  ".join(f"[bold]{name}[/] {number(ratio)}×" for name, ratio in self.ratios.items()))


def command_line() -> str:
    """This process's command line without paths of this machine: relative to the working folder, or the name alone.

    An interpreter that an option names (`--llama-python`, `--vllm-python`) becomes `PYTHON`, the folder of `--data`
    `DATA`.
    """
    program = Path(sys.argv[0])
    is_ours = program.name == "loraloop" or (program.name == "__main__.py" and program.parent.name == "loraloop")
    shown = ["loraloop"] if is_ours else ["python", _shown(sys.argv[0])]
    for before, argument in zip(sys.argv, sys.argv[1:], strict=False):
        data = before == "--data" and Path(argument).is_dir()
        shown.append("PYTHON" if before.endswith("-python") else "DATA" if data else _shown(argument))
    return shlex.join(shown)


def _shown(argument: str) -> str:
    path = Path(argument)
    here = Path.cwd()
    if path.is_absolute() and path.is_relative_to(here):
        return path.relative_to(here).as_posix()
    return path.name if path.is_absolute() else argument


def machine() -> dict[str, str]:
    """What the numbers were measured on; each value can be read on its own."""
    import torch

    tiles = ", AMX" if torch.cpu._is_amx_tile_supported() else ""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = {
        "processor": f"{_processor()} ({torch.backends.cpu.get_cpu_capability()}{tiles})",
        "cores": f"{cores} cores",
        "threads": f"{torch.get_num_threads()} threads",
    }
    if memory := _memory_gb():
        facts["memory"] = f"{memory} GB"
    if hasattr(os, "getloadavg"):
        facts["load"] = f"load {os.getloadavg()[0]:.1f}"
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def spread(name: str, values: Sequence[float]) -> dict[str, float]:
    """`{name}_median`, `_p10` and `_p90` of at least one value; the unit goes into `name`."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return {
        f"{name}_median": statistics.median(ordered),
        f"{name}_p10": ordered[round(0.1 * last)],
        f"{name}_p90": ordered[round(0.9 * last)],
    }


def number(value: float) -> str:
    """A number as a table shows it: whole above 100, three figures below."""
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _tidy(numbers: Mapping[str, float]) -> dict[str, float]:
    """Five significant figures: more would be noise."""
    return {name: value if isinstance(value, int) else float(f"{value:.5g}") for name, value in numbers.items()}


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gb() -> int:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, ValueError, OSError):
        return 0
