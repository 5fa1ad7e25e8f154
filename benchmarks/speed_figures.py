"""From the samples of a speed comparison to its figures: medians, overheads, shares of the limit, tables."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from limits import Limits
from speed_bytes import Bytes
from speed_systems import Case


def figures(samples: dict[str, list[float]], wanted: Sequence[Case], allowed: dict[str, float]) -> dict[str, float]:
    """One system's metrics; `allowed` is the limit of each case in milliseconds."""
    out: dict[str, float] = {}
    for case in wanted:
        middle = 1e3 * median(samples[case.name])
        out[f"{case.name}_ms"] = middle
        out[f"{case.name}_tok_per_s"] = 1e3 * tokens_of(case) / middle
        if case.name in allowed:
            out[f"{case.name}_of_limit_pct"] = 100 * allowed[case.name] / middle
        if case.skill:
            pairs = zip(samples[case.name], samples[case.bare.name], strict=True)
            out[f"{case.name}_overhead_pct"] = 100 * (median(a / b for a, b in pairs) - 1)
    return out


def tokens_of(case: Case) -> int:
    """Tokens that a forward of this case computes."""
    return case.context if case.kind == "prefill" else case.count


def allowed_ms(wanted: Sequence[Case], limits: Limits, size: Bytes, operations: dict[str, float]) -> dict[str, float]:
    """The least milliseconds of each case: its bytes have to be read and its products computed."""
    out = {}
    for case in wanted:
        reading = limits.read_ms(size.read(case.past, case.skill))
        out[case.name] = max(reading, limits.flops_ms(operations[case.name]))
    return out


def grids(
    wanted: Sequence[Case], metrics: dict[str, float], peers: dict[str, dict[str, float]], ratios: dict[str, float]
) -> dict[str, dict[str, float]]:
    """Tables for the page: decode, few rows, prefill, and what a skill adds."""
    tables: dict[str, dict[str, float]] = {"decode": {}, "rows": {}, "prefill": {}, "overhead": {}}
    labels = {"decode": "1 token after {}", "rows": "{} tokens after {}", "prefill": "{} tokens"}
    for case in wanted:
        row = labels[case.kind].format(*((case.count, case.context) if case.kind == "rows" else (case.context,)))
        columns = {"loraloop": metrics, **peers}
        if case.skill:
            for name, numbers in columns.items():
                if name != "limit":
                    tables["overhead"][f"{row}/{name}, %"] = round(numbers[f"{case.name}_overhead_pct"], 1)
            tables["overhead"][f"{row}/loraloop, ms"] = metrics[f"{case.name}_ms"]
        else:
            unit = "tokens per s" if case.kind == "prefill" else "ms"
            key = f"{case.name}_tok_per_s" if case.kind == "prefill" else f"{case.name}_ms"
            for name, numbers in columns.items():
                tables[case.kind][f"{row}/{name}, {unit}"] = numbers[key]
            tables[case.kind][f"{row}/of the limit, %"] = metrics[f"{case.name}_of_limit_pct"]
            for name in peers:
                if f"{case.name} {name}" in ratios:
                    tables[case.kind][f"{row}/× {name}"] = ratios[f"{case.name} {name}"]
    return {name: {key: float(f"{value:.4g}") for key, value in table.items()} for name, table in tables.items()}
