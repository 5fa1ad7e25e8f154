"""What a training step of a skill costs, against PEFT on transformers, on the same records.

    python benchmarks/training.py --json benchmarks/results/training.json

Conversations of the frozen data, several learnt turns each, and LoRA of rank 8 on all linear layers. Ours computes a
conversation's context once, without a graph, and the graph on the learnt turns alone: in fp32, and `served` in the
8-bit products of the C kernels. PEFT trains as is usual: each turn with its context is a row of its own, padded to the
longest, and the loss is that of the completion; in bf16, the format of the weights, and in fp32. All take one AdamW
step a batch. `records_a_s` counts learnt turns; memory is the most that each system's process took.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import environment  # noqa: F401
import torch
from report import BenchmarkReport, finish, options

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.training.data.encode import Encoded

RANK, BATCH, RECORDS = 8, 8, 600
OURS = ("fp32", "served")
PEERS = ("peft_bf16", "peft_fp32")


def examples_of(base: Base, source: str) -> list[Encoded]:
    """Conversations of a frozen file."""
    from itertools import islice

    from loraloop.adapters.training.data.encode import encode_grouped
    from loraloop.adapters.training.data.frozen import frozen_rows
    from loraloop.adapters.training.data.readers import Reading, records_of
    from loraloop.adapters.training.data.record import RecordPlace

    reading = Reading("calls", turns="last", header=base.prompting.tools_header)
    rows = islice(frozen_rows(source), RECORDS)
    records = [record for line, row in rows for record in records_of(row, reading, RecordPlace(source, line))]
    return encode_grouped(base, records, 1800)


def ours(base: Base, examples: Sequence[Encoded], steps: int, precision: str, seed: int) -> Iterator[tuple[float, int]]:
    """Seconds and learnt turns of each step."""
    from loraloop.adapters.methods.lora import Lora
    from loraloop.adapters.training.trainer.trainer import TrainConfig, Trainer

    config = TrainConfig.of(
        steps=steps + 1, batch=BATCH, precision=precision, trunks="served", seed=seed, validate_every=10**6
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(base, Lora(RANK, 2 * RANK), examples, examples[:1], config, Path(folder))
        batches = trainer.batches()
        for _ in range(steps):
            batch = next(batches)
            start = perf_counter()
            trainer._optimize(batch, 0.0)
            yield perf_counter() - start, sum(len(example.branches) for example in batch)


def peft(base: Base, examples: Sequence[Encoded], steps: int, dtype: str, seed: int) -> Iterator[tuple[float, int]]:
    """The same for PEFT with plain LoRA."""
    from peft import LoraConfig, get_peft_model
    from transformers_peer import transformers_model

    from loraloop.adapters.training.data.encode import batches

    model = transformers_model(base).to(torch.float32 if dtype == "fp32" else torch.bfloat16).train()
    made = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear"))
    optimizer = torch.optim.AdamW([each for each in made.parameters() if each.requires_grad], lr=2e-3)
    order = batches(examples, BATCH, seed)
    for _ in range(steps):
        batch = next(order)
        start = perf_counter()
        rows = [
            ((*example.trunk[: branch.at], *branch.tokens), len(example.trunk[: branch.at]) + branch.start)
            for example in batch
            for branch in example.branches
        ]
        longest = max(len(ids) for ids, _ in rows)
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row, _ in rows])
        labels = torch.full_like(ids, -100)
        for place, (row, first) in enumerate(rows):
            labels[place, first : len(row)] = ids[place, first : len(row)]
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row, _ in rows])
        learnt = (labels[:, 1:] != -100).nonzero()
        for part in torch.split(torch.arange(len(rows)), BATCH):  # as many rows in a forward as memory is usual for
            out = made.base_model.model.model(input_ids=ids[part], attention_mask=mask[part]).last_hidden_state
            own = learnt[(learnt[:, 0] >= part[0]) & (learnt[:, 0] <= part[-1])]
            states = out[own[:, 0] - part[0], own[:, 1]]
            logits = made.base_model.model.lm_head(states).float()
            loss = torch.nn.functional.cross_entropy(logits, labels[own[:, 0], own[:, 1] + 1], reduction="sum")
            (loss / len(learnt)).backward()
        torch.nn.utils.clip_grad_norm_([each for each in made.parameters() if each.requires_grad], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield perf_counter() - start, len(rows)


def measured(given: argparse.Namespace) -> dict[str, float]:
    """One system's figures, in this process."""
    from loraloop.adapters.base import Base

    base = Base.load(given.base)
    examples = examples_of(base, given.source)
    run, kind = (peft, given.system.removeprefix("peft_")) if given.system in PEERS else (ours, given.system)
    steps = list(run(base, examples, given.limit + 1, kind, given.seed))[1:]  # the first one warms up
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return {
        "records_a_s": sum(records for _, records in steps) / sum(seconds for seconds, _ in steps),
        "step_s": median(seconds for seconds, _ in steps),
        "peak_gb": peak,
    }


def main() -> None:
    """Measures each system in a process of its own, one after another."""
    parser = options(__doc__.splitlines()[0], limit=6)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--source", default="worlds", help="frozen data of a tools skill")
    parser.add_argument("--system", choices=(*OURS, *PEERS), help="measure this one alone, as JSON")
    given = parser.parse_args()
    if given.system:
        print(json.dumps(measured(given)))
        return
    found: dict[str, dict[str, Any]] = {}
    for system in (*OURS, *PEERS):
        command = [sys.executable, __file__, "--system", system, "--base", given.base, "--source", given.source]
        command += ["--limit", str(given.limit), "--seed", str(given.seed)]
        command += ["--threads", str(given.threads)] if given.threads else []
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[system] = json.loads(done.stdout.splitlines()[-1])
        print(system, found[system], flush=True)
    metrics = {f"{system}_{name}": value for system in OURS for name, value in found[system].items()}
    peers = {system: found[system] for system in PEERS}
    best = max(peers[system]["records_a_s"] for system in PEERS)
    ratios = {f"{system}_records_a_s": found[system]["records_a_s"] / best for system in OURS}
    finish(BenchmarkReport("training", given.limit, metrics, peers, ratios), given.json)


if __name__ == "__main__":
    main()
