"""What it costs to share the base out among the processes that train: memory of each, and time of a step.

    python benchmarks/sharding.py --json benchmarks/results/sharding.json

Two processes on this machine train the same low-rank adapter in fp32, over gloo, on the same examples; once each holds
the whole base (`whole`), once each holds its half (`shared`, which is `accelerate launch --use_fsdp`). Of each process:
`weights` are the dense values that it trains on; `ready` is its resident memory when the trainer has been made, above
what it was when the base had been loaded; `peak` is the most in the steps after that, above the same. Given is the
process that takes more. `step_s` is the median of `--limit` steps, after one to warm up; `last_loss` must be the same.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from report import Report, finish, options
from training_memory import Resident
from training_systems import Job

MB = 1e6
LAUNCHERS = {
    "whole": ("torch.distributed.run", "--nproc_per_node", "2", "--master_port"),
    "shared": ("accelerate.commands.launch", "--use_fsdp", "--num_processes", "2", "--main_process_port"),
}


def train(job: Job) -> None:
    """One process's part; writes what it found beside the others."""
    from loraloop.adapters.training.trainer.shards import ShardedWeight
    from loraloop.adapters.training.trainer.trainer import Progress, TrainConfig, Trainer

    torch.set_num_threads(job.threads)
    seconds: list[float] = []
    losses: list[float] = []

    def told(progress: Progress) -> None:
        seconds.append(progress.seconds)
        losses.append(progress.loss)

    base = job.load()
    data = job.examples(base)
    config = TrainConfig(
        job.steps + 1, job.batch, job.rate, validate_every=job.steps + 1, seed=job.seed, precision="fp32"
    )  # fmt: skip
    memory = Resident()
    trainer = Trainer(base, job.method, data, data[:1], config, job.place / f"run-{job.system}", progress=told)
    view = trainer.decoder
    weights = [view.embedding, *(w for layer in view.layers for w in (layer.qkv, layer.o, layer.gate_up, layer.down))]
    if view.head is not view.embedding and not isinstance(view.head, ShardedWeight):
        weights.append(view.head)
    held = trainer.shards.part if trainer.shards else sum(weight.dequantize().nbytes for weight in weights)
    ready, steps = memory.now, Resident()
    trainer.run()
    found = {"weights": held, "ready": ready, "peak": ready + steps.peak, "seconds": seconds[1:], "losses": losses}
    (job.place / f"{job.system}-{trainer.workers.rank}.json").write_text(json.dumps(found), encoding="utf-8")


def measured(job: Job) -> list[dict[str, Any]]:
    """What each of two processes found.

    Raises:
        RuntimeError: one of them failed.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    program = [str(Path(__file__).resolve()), json.dumps(asdict(job))]
    command = [sys.executable, "-m", *LAUNCHERS[job.system], port, *program]
    environment = {**os.environ, "OMP_NUM_THREADS": str(job.threads)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{job.system} failed:\n{done.stderr[-3_000:]}")
    return [json.loads((job.place / f"{job.system}-{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)]


def numbers(found: list[dict[str, Any]]) -> dict[str, float]:
    """One way's figures."""
    sizes = {f"{name}_mb": max(each[name] for each in found) / MB for name in ("weights", "ready", "peak")}
    return {**sizes, "step_s": median(found[0]["seconds"]), "last_loss": found[0]["losses"][-1]}


def main() -> None:
    parser = options(__doc__.splitlines()[0], limit=4)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--context", type=int, default=256, help="tokens of a context")
    parser.add_argument("--completion", type=int, default=48, help="tokens of a branch")
    parser.add_argument("--batch", type=int, default=4, help="examples a process and step")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="loraloop-") as folder:
        first = Job(
            "whole", given.base, "", folder, given.context, given.completion, given.batch, 16, 4 * given.batch,
            given.limit, 1e-3, given.seed, given.threads or 1,
        )  # fmt: skip
        ways = {way: numbers(measured(replace(first, system=way))) for way in LAUNCHERS}
    ratios = {
        f"{name.removesuffix('_mb').removesuffix('_s')}_vs_whole": ways["shared"][name] / ways["whole"][name]
        for name in ("weights_mb", "ready_mb", "peak_mb", "step_s")
    }
    figures = {f"{way}/{name}": value for way, each in ways.items() for name, value in each.items()}
    report = Report("sharding", given.limit, ways["shared"], {"whole": ways["whole"]}, ratios, {"ways": figures})
    finish(report, given.json)


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        train(Job(**json.loads(sys.argv[1])))
    else:
        main()
