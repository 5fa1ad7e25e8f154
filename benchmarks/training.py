"""What training a skill costs: our trainer against PEFT, PEFT's activated LoRA, and TRL's SFTTrainer.

    python benchmarks/training.py --json benchmarks/results/training.json

All train the same low-rank adapter on all linear modules of the same base: the peers load a folder with the values
that our base serves, begin with the same A and B, see the same examples in the same order at the same learning rates,
with AdamW and clipped gradients, without padding, dropout or gradient checkpointing. Examples are synthetic: all have a
context of `--context` tokens and a branch of `--completion` tokens (invocation, completion, end of turn), the loss is
on the completion.

- `ours`: the context runs without a graph on the bare base, in every step;
- `cached`: its keys and values are read back from disk, where the first epoch left them;
- `ours_fp32`: as `ours`, but computed in fp32 on the same values: some processors multiply that faster than bf16;
- `served`: the same, with contexts by the C decoder, which serves the base (left out where it does not);
- `full`: our trainer with the adapter active on the whole context, as plain PEFT;
- `peft`, `peft_alora`: the loop of PEFT's documentation, plain and with invocation tokens;
- `peft_fp32`, `peft_alora_fp32`: the same in fp32;
- `trl`: SFTTrainer, on the plain PEFT model.

Each is measured in a process of its own, with the same number of threads: after an epoch to warm up (and to fill the
cache), `--limit` steps are timed (`step_s` by the clock, `processor_s` on the cores); then one more is run under
torch's profiler for its `activation`: the peak of what torch's allocator holds above what it held when the step began
(gradients included, weights and the optimizer's state not). `rss` is the peak of resident memory over the steps before,
above what it was when the first of them began: weights are loaded then, the optimizer's state is not yet made. Ratios
are theirs over ours. What is measured is kept in `--work` until all is done, so a killed run goes on.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from own_process import found_before, found_now
from report import Report, finish, options
from training_systems import SYSTEMS, Job

from loraloop.adapters.base.loading.quantize import TILED

MB = 1e6
OURS = ("ours", "ours_fp32", "served", "cached", "full")
NEEDS = {"peft": "peft", "peft_fp32": "peft", "peft_alora": "peft", "peft_alora_fp32": "peft", "trl": "trl"}
WIDE = ("ours_fp32", "served", "peft_fp32", "peft_alora_fp32")  # computed in fp32
GRID = "64+48,1024+48,256+16,256+128"
Found = dict[str, dict[str, Any]]


def measured(job: Job) -> dict[str, Any]:
    """One job's result, from a process of its own, or what an earlier run left of the same job."""
    kept = job.place / f"{job.system}-{job.point}.json"
    found = found_before(kept)
    if found and found["job"] == asdict(job) | {"folder": found["job"]["folder"]}:
        return found
    shutil.rmtree(job.place / f"run-{job.system}-{job.point}", ignore_errors=True)
    return found_now("training_systems.py", asdict(job), kept)


def numbers(found: dict[str, Any]) -> dict[str, float]:
    """One system's figures."""
    job, step = found["job"], median(found["seconds"])
    return {
        "step_s": step,
        "processor_s": median(found["processor"]),
        "tokens_per_s": job["batch"] * (job["context"] + job["completion"]) / step,
        "activation_mb": found["activation_bytes"] / MB,
        "rss_mb": found["rss_bytes"] / MB,
        "first_loss": found["losses"][0],
        "last_loss": found["losses"][-1],
    }


def ratios_of(figures: dict[str, dict[str, float]]) -> dict[str, float]:
    """Time and activation memory of each peer over each of our ways to train, those in fp32 among themselves."""
    ratios = {}
    for name in OURS:
        for peer in NEEDS:
            if name in figures and peer in figures and (name in WIDE) == (peer in WIDE):
                prefix = "" if name == "ours" else f"{name}_"
                for what, key in (("time", "step_s"), ("memory", "activation_mb")):
                    ratios[f"{prefix}{what}_vs_{peer}"] = figures[peer][key] / figures[name][key]
    return ratios


def differences(found: Found) -> dict[str, float]:
    """How far the loss curves of the same objective lie apart: largest and mean difference over all steps."""
    pairs = {"": ("ours", "peft_alora"), "cached_": ("cached", "ours"), "full_": ("full", "peft")}
    pairs |= {"trl_": ("trl", "peft"), "fp32_": ("ours_fp32", "peft_alora_fp32")}
    pairs |= {"peft_fp32_": ("peft_fp32", "peft"), "served_": ("served", "ours_fp32")}
    apart = {}
    for prefix, (one, other) in pairs.items():
        if one in found and other in found:
            gaps = [abs(a - b) for a, b in zip(found[one]["losses"], found[other]["losses"], strict=True)]
            apart |= {f"{prefix}loss_difference_max": max(gaps), f"{prefix}loss_difference_mean": mean(gaps)}
    return apart


def report_of(point: str, everything: dict[str, Found], limit: int) -> Report:
    """The document: the main point's figures, and how the ratios move from point to point."""
    found = everything[point]
    figures = {system: numbers(result) for system, result in found.items()}
    metrics = dict(figures["ours"])
    for name in OURS[1:]:
        if name in figures:
            metrics |= {f"{name}_{key}": figures[name][key] for key in ("step_s", "activation_mb", "rss_mb")}
    metrics |= differences(found)
    if "peft" in figures:
        metrics["activation_share_of_peft"] = figures["ours"]["activation_mb"] / figures["peft"]["activation_mb"]
    grid = {
        f"{where.replace('+', ' + ')} tokens/{name}": value
        for where, results in everything.items()
        for name, value in _moving({system: numbers(result) for system, result in results.items()}).items()
    }
    systems = {f"{system}/{key}": value for system, each in figures.items() for key, value in each.items()}
    curves = {system: [round(loss, 5) for loss in result["losses"]] for system, result in found.items()}
    peers = {system: figures[system] for system in NEEDS if system in figures}
    conditions = {key: value for key, value in found["ours"]["job"].items() if key not in ("system", "folder")}
    conditions["base"] = Path(str(conditions["base"])).name
    details = {"systems": _short(systems), "grid": _short(grid), "losses": curves, "conditions": conditions}
    return Report("training", limit, metrics, peers, ratios_of(figures), details)


def _moving(figures: dict[str, dict[str, float]]) -> dict[str, float]:
    """A point's row in the grid."""
    return {"ours, s a step": figures["ours"]["step_s"], **ratios_of(figures)}


def _short(figures: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in figures.items()}


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options(__doc__.splitlines()[0], limit=6)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--form", default="", help="quantization of the base (default: as it is served)")
    parser.add_argument("--context", type=int, default=256, help="tokens of a context")
    parser.add_argument("--completion", type=int, default=48, help="tokens of a branch")
    parser.add_argument("--grid", default=GRID, help="further points, CONTEXT+COMPLETION, parted by commas")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--examples", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="parted by commas; ours is always measured")
    parser.add_argument("--work", type=Path, default=Path("build/bench-training"), help="what is measured is kept here")
    given = parser.parse_args(arguments)
    given.systems = [name for name in given.systems.split(",") if name]
    if strange := set(given.systems) - set(SYSTEMS):
        parser.error(f"unknown system {min(strange)!r}: use {', '.join(SYSTEMS)}")
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    given = parsed(arguments)
    threads = given.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    missing = {name for name in given.systems if name in NEEDS and find_spec(NEEDS[name]) is None}
    for name in sorted(missing):
        _say(f"{name} is left out: pip install {NEEDS[name]}")
    if "served" in given.systems and given.form and given.form not in TILED:
        _say(f"served is left out: the C decoder does not serve {given.form}")
        missing.add("served")
    systems = ["ours", *(name for name in SYSTEMS if name in given.systems and name != "ours" and name not in missing)]
    work = given.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    first = Job(
        "ours", given.base, given.form, str(work), given.context, given.completion, given.batch, given.rank,
        given.examples, given.limit, given.rate, given.seed, threads,
    )  # fmt: skip
    if set(systems) & set(NEEDS):
        measured(replace(first, system="prepare"))
    everything: dict[str, Found] = {}
    for point in [first.point, *(each for each in given.grid.split(",") if each)]:
        context, completion = (int(number) for number in point.split("+"))
        main_point = point == first.point
        everything[point] = {}
        for system in systems:
            if system == "trl" and not main_point:
                continue
            steps = given.limit if main_point else max(1, given.limit // 2)
            job = replace(first, system=system, context=context, completion=completion, steps=steps)
            everything[point][system] = measured(job)
            figures = numbers(everything[point][system])
            _say(f"{point} {system}: {figures['step_s']:.2f} s a step, {figures['activation_mb']:.0f} MB")
    finish(report_of(first.point, everything, given.limit), given.json)
    shutil.rmtree(work)
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
