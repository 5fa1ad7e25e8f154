"""What a training step of a skill costs, against PEFT on transformers, on the same records.

    python benchmarks/training.py --json benchmarks/results/training.json
    python benchmarks/training.py --base qwen2.5-coder-1.5b --systems served --json FILE

Conversations of the frozen data, several learnt turns each, and LoRA of rank 8 on all linear layers. Ours computes a
conversation's context once, without a graph, and the graph on the learnt turns alone: in fp32, and `served` in the
8-bit products of the C kernels. PEFT trains as is usual: each turn with its context is a row of its own, and the loss
is that of the completion; as plain LoRA and as aLoRA, in fp32 and in bf16, the format of the weights. It too computes
logits of learnt tokens alone. All take one AdamW step a batch, each system in a process of its own. `records_a_s`
counts learnt turns; memory is the most that a system's process took.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent))

import environment  # noqa: F401
import torch
from report import BenchmarkReport, finish, options

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.training.data.encode import Encoded

RANK, BATCH, RECORDS, ROWS = 8, 2, 600, 2
"""Conversations of a step; records that they are made of; rows of a forward of PEFT, as memory allows."""
OURS = ("fp32", "served")
PEERS = ("lora_fp32", "lora_bf16", "alora_fp32", "alora_bf16")


def examples_of(base: Base) -> list[Encoded]:
    """Conversations of a frozen file."""
    from loraloop.adapters.training.data.encode import encode_grouped
    from loraloop.adapters.training.data.frozen import frozen_rows
    from loraloop.adapters.training.data.readers import Reading, records_of
    from loraloop.adapters.training.data.record import RecordPlace

    reading = Reading("calls", turns="last", header=base.prompting.tools_header)
    rows = islice(frozen_rows("worlds"), RECORDS)
    records = [record for line, row in rows for record in records_of(row, reading, RecordPlace("worlds", line))]
    return encode_grouped(base, records, 1800)


def ours(base: Base, examples: Sequence[Encoded], precision: str, seed: int) -> Iterator[tuple[float, int]]:
    """Seconds and conversations' turns of one step after another."""
    from loraloop.adapters.methods.lora import Lora
    from loraloop.adapters.training.trainer.trainer import TrainConfig, Trainer

    config = TrainConfig.of(steps=10**6, batch=BATCH, precision=precision, trunks="served", seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(base, Lora(RANK, 2 * RANK), examples, examples[:1], config, Path(folder))
        for batch in trainer.batches():
            start = perf_counter()
            trainer._optimize(batch, 0.0)
            yield perf_counter() - start, sum(len(example.branches) for example in batch)


def peft(base: Base, examples: Sequence[Encoded], system: str, seed: int) -> Iterator[tuple[float, int]]:
    """Seconds and conversations' turns of one step after another, by PEFT."""
    from peft import LoraConfig, get_peft_model
    from transformers_peer import transformers_model

    from loraloop.adapters.training.data.encode import batches

    kind, dtype = system.split("_")
    invocation = list(base.chat.generation_prompt) if kind == "alora" else None
    config = LoraConfig(
        r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", alora_invocation_tokens=invocation,
        task_type="CAUSAL_LM",
    )  # fmt: skip
    made = get_peft_model(transformers_model(base).to({"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]), config)
    inner, learnt = made.train().base_model, [each for each in made.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=2e-3)
    for batch in batches(examples, BATCH, seed):
        start = perf_counter()
        turns = [(example.trunk[: branch.at], branch) for example in batch for branch in example.branches]
        whole = sum(branch.counted for _, branch in turns)
        for part in (turns[i : i + ROWS] for i in range(0, len(turns), ROWS)):
            rows = [(*context, *branch.tokens) for context, branch in part]
            longest = max(map(len, rows))
            ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
            mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
            places = [
                (place, at)
                for place, (context, branch) in enumerate(part)
                for at in range(len(context) + branch.start, len(rows[place]))
            ]
            row, at = torch.tensor(places).T
            offsets = [longest - len(context) for context, _ in part] if invocation else None
            with inner._enable_peft_forward_hooks(alora_offsets=offsets):
                states = inner.model.model(input_ids=ids, attention_mask=mask).last_hidden_state[row, at - 1]
            logits = inner.model.lm_head(states).float()
            (torch.nn.functional.cross_entropy(logits, ids[row, at], reduction="sum") / whole).backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield perf_counter() - start, len(turns)


def measured(given: argparse.Namespace) -> dict[str, float]:
    """One system's figures, in this process."""
    from loraloop.adapters.base import Base

    base = Base.load(given.base, device="cpu")
    system, run = given.process, ours if given.process in OURS else peft
    steps = list(islice(run(base, examples_of(base), system, given.seed), given.limit + 1))[1:]  # the first warms up
    return {
        "records_a_s": sum(records for _, records in steps) / sum(seconds for seconds, _ in steps),
        "conversation_s": median(seconds for seconds, _ in steps) / BATCH,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2,
    }


def main() -> None:
    """Measures each system in a process of its own, one after another."""
    parser = options(__doc__.splitlines()[0], limit=3)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--systems", nargs="+", choices=(*OURS, *PEERS), default=(*OURS, *PEERS))
    parser.add_argument("--process", choices=(*OURS, *PEERS), help="measure this one in this process, as JSON")
    given = parser.parse_args()
    if given.process:
        print(json.dumps(measured(given)))
        return
    found: dict[str, dict[str, float]] = {}
    for system in given.systems:
        command = [sys.executable, __file__, "--process", system, "--base", given.base]
        command += ["--limit", str(given.limit), "--seed", str(given.seed)]
        command += ["--threads", str(given.threads)] if given.threads else []
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[system] = json.loads(done.stdout.splitlines()[-1])
        print(system, found[system], file=sys.stderr, flush=True)
    metrics = {f"{system}_{name}": found[system][name] for system in OURS if system in found for name in found[system]}
    peers = {system: figures for system, figures in found.items() if system in PEERS}
    ratios = {
        f"{system} {peer}": found[system]["records_a_s"] / figures["records_a_s"]
        for system in OURS
        if system in found
        for peer, figures in peers.items()
    }
    finish(BenchmarkReport("training", given.limit, metrics, peers, ratios, {"base": given.base}), given.json)


if __name__ == "__main__":
    main()
