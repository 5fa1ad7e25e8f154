"""Twelve methods on one task: what each learns, weighs, and costs to train, to switch to and to decode with.

    python benchmarks/methods.py --json benchmarks/results/methods.json

The task (`methods_task.py`) is a hotel guest's message to be written as a booking record in JSON; the messages that are
scored use wordings that training never showed. All rows see the same examples for the same number of steps at the same
batch, on the default base, in branch activation. Greedy decoding under the task's schema, in the engine that an agent
uses; `exact` is the share of records that are right in every field.

`memory` is what training keeps above the base: the peak of torch's allocations during a step, the method's weights,
and its optimizer's state. `decode overhead` compares a token's forward under the skill with the bare base's, in turns.
Each row runs in a process of its own and is kept in `--work` until all are done: a killed run goes on, within a row
from the trainer's last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from methods_kinds import ROWS
from methods_row import Job
from own_process import found_before, found_now
from report import Report, finish, options

COLUMNS = {
    "valid_loss": "validation loss",
    "exact": "exact",
    "fields": "fields",
    "trainable": "trained parameters",
    "file_mb": "file, MB",
    "train_s": "training, s",
    "peak_mb": "memory, MB",
    "switch_us": "switch, µs",
    "decode_overhead": "decode overhead",
}


def measured(job: Job) -> dict[str, Any]:
    """One row, from a process of its own, or what an earlier run left of the same."""
    place = Path(job.folder)
    kept = place / f"{job.row}.json"
    found = found_before(kept)
    if found and found["job"] == asdict(job):
        return found
    asked = place / f"asked-{job.row}.json"
    if not asked.exists() or json.loads(asked.read_text(encoding="utf-8")) != asdict(job):
        shutil.rmtree(place / f"run-{job.row}", ignore_errors=True)
        asked.write_text(json.dumps(asdict(job)), encoding="utf-8")
    return found_now("methods_row.py", asdict(job), kept)


def report_of(rows: dict[str, dict[str, Any]], job: Job) -> Report:
    """The document: numbers by row and column, and the table of the page with its words."""
    metrics = {f"{row}/{key}": value for row, found in rows.items() for key, value in found["numbers"].items()}
    table: dict[str, Any] = {}
    for row, found in rows.items():
        for key, column in COLUMNS.items():
            value = found["numbers"].get(key)
            if value is not None:
                table[f"{row}/{column}"] = value if isinstance(value, int) else float(f"{value:.4g}")
        if row != "base":
            table[f"{row}/KV"] = found["notes"].get("kv", "")
    notes = {f"{row}/{key}": said for row, found in rows.items() for key, said in found["notes"].items() if key != "kv"}
    lora = rows.get("lora", {"numbers": {}})["numbers"].get("exact", 0.0)
    others = {row: found["numbers"]["exact"] for row, found in rows.items() if row not in ("base", "lora")}
    ratios = {f"{row}_exact_vs_lora": exact / lora for row, exact in others.items()} if lora else {}
    shared = {key: value for key, value in asdict(job).items() if key not in ("row", "folder", "base")}
    details = {"methods": table, "notes": notes, "conditions": shared | {"base": Path(job.base).name}}
    return Report("methods", job.test, metrics, {}, ratios, details)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options(__doc__.splitlines()[0], limit=100)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--form", default="", help="quantization of the base (default: as it is served)")
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps of each row")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--train", type=int, default=800, help="training examples")
    parser.add_argument("--rows", default=",".join(ROWS), help="parted by commas; the bare base is always measured")
    parser.add_argument("--work", type=Path, default=Path("build/bench-methods"), help="what is measured is kept here")
    given = parser.parse_args(arguments)
    given.rows = [row for row in given.rows.split(",") if row]
    if strange := set(given.rows) - set(ROWS):
        parser.error(f"unknown row {min(strange)!r}: use {', '.join(ROWS)}")
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    given = parsed(arguments)
    threads = given.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    work = given.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    job = Job(
        "base", given.base, given.form, str(work), given.steps, given.batch, given.train, given.limit, given.seed,
        threads,
    )  # fmt: skip
    rows = {}
    for row in ("base", *given.rows):
        rows[row] = measured(replace(job, row=row))
        figures = ", ".join(f"{key} {value:.4g}" for key, value in rows[row]["numbers"].items())
        print(f"{row}: {figures}", file=sys.stderr, flush=True)
    finish(report_of(rows, job), given.json)
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
