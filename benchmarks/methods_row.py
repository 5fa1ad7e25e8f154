"""One row of the comparison of methods, in a process of its own: train, store, serve, score, time."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from methods_kinds import ROWS, Kind
from methods_task import SCHEMA, Case, cases, score
from own_process import die_with_parent
from training_memory import Allocations

from loraloop.agent.engine.ledger import Author

if TYPE_CHECKING:
    from torch import Tensor

    from loraloop.adapters.bank.bank import Bank
    from loraloop.adapters.base import Attached, Base
    from loraloop.adapters.training.data.encode import Encoded
    from loraloop.adapters.training.trainer.trainer import Trainer
    from loraloop.tool_schemas.grammar.grammar import Grammar

TOKENS = 160
"""More than any record has."""
SWITCHES, DECODED, CONTEXT = 2_000, 160, 256


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked of one process: a row, how long it trains, and on how many cases it is measured.

    Attributes:
        row: a key of `ROWS`, or "base": the bare base under the same grammar.
        folder: where the row's run and its skill are kept.
    """

    row: str
    base: str
    form: str
    folder: str
    steps: int
    batch: int
    train: int
    test: int
    seed: int
    threads: int


def encoded(base: Base, asked: Sequence[Case]) -> list[Encoded]:
    from loraloop.adapters.base import Message
    from loraloop.adapters.training.data.encode import encode

    return [encode(base, [Message("user", case.text)], case.completion) for case in asked]


def grammar(base: Base) -> Grammar:
    from loraloop.tool_schemas.grammar.grammar import GrammarCompiler, JsonSchema

    compiler = GrammarCompiler(base.tokenizer.json, base.config.vocab_size, base.chat.closing[0])
    return compiler.compile(JsonSchema(SCHEMA))


def trained(job: Job, kind: Kind, base: Base) -> tuple[Trainer, dict[str, Tensor], int]:
    """The trainer, the tensors that its skill stores, and the peak bytes of what one of its steps allocates."""
    from loraloop.adapters.training.trainer.trainer import Progress, TrainConfig, Trainer

    allocations, told = Allocations(), 0

    def profile(progress: Progress) -> None:
        nonlocal told
        told += 1
        if told == 1:  # the first step of this process also makes the optimizer's state
            allocations.start()
        elif told == 2:
            allocations.stop()

    config = TrainConfig(
        job.steps, job.batch, kind.rate, validate_every=max(1, job.steps // 4), seed=job.seed, **kind.settings
    )
    train = encoded(base, cases("train", job.train, job.seed))
    valid = encoded(base, cases("valid", max(8, job.train // 16), job.seed))
    trainer = Trainer(base, kind.made(), train, valid, config, Path(job.folder) / f"run-{job.row}", progress=profile)
    return trainer, trainer.run(), allocations.peak


def stored(job: Job, base: Base, trainer: Trainer, tensors: Mapping[str, Tensor]) -> Path:
    """The skill's folder, its tensors in bf16."""
    from loraloop.adapters.methods import card_fields
    from loraloop.adapters.skill.card import Card
    from loraloop.adapters.skill.skill import Skill

    fields = {
        "name": job.row.replace("+", "-plus"),
        "description": "hotel bookings as JSON",
        **card_fields(trainer.method, tensors),
        "invocation": base.chat.generation_prompt,
        "base": f"{base.name} ({base.form})",
        "fingerprints": {"architecture": base.fingerprints.architecture, "weights": base.fingerprints.weights},
    }
    return Skill(Card.checked(fields), dict(tensors)).to(torch.bfloat16).save(Path(job.folder) / f"skill-{job.row}")


def author_of(base: Base, bank: Bank, name: str) -> Author:
    """Who computes the skill's branches; its slot is pinned."""
    card = bank.card(name)
    return Author(base.fingerprints.weights, name, bank.pin(name), card.activation, card.sha256)


def served_outputs(base: Base, attached: Attached | None, author: Author, asked: Sequence[Case]) -> list[str]:
    """What a skill or the base writes, decoded as in an agent's step: greedily, under the grammar."""
    from loraloop.adapters.base import Message
    from loraloop.agent.engine import Trunk
    from loraloop.agent.engine.generate import Budget, Generated, generate
    from loraloop.agent.engine.sampler import Sampler, Sampling

    compiled, outputs = grammar(base), []
    for case in asked:
        trunk = Trunk(base, (), attached)
        trunk.extend(base.chat.render([Message("user", case.text)]))
        branch, text = trunk.branch(author), ""
        pieces = generate(
            branch, base.chat.generation_prompt, Sampler(Sampling()), Budget(TOKENS), stop_ids=base.stop_ids,
            constraint=compiled.start(),
        )  # fmt: skip
        for piece in pieces:
            text = piece.text if isinstance(piece, Generated) else text
        branch.close()
        outputs.append(text)
    return outputs


def switch_us(bank: Bank, names: Sequence[str]) -> float:
    """Median microseconds in which a resident skill's slot is had while two take turns."""
    for name in names:
        bank.slot(name)
    times = []
    for number in range(SWITCHES):
        started = perf_counter()
        bank.slot(names[number % len(names)])
        times.append(1e6 * (perf_counter() - started))
    return median(times)


def overhead(base: Base, bank: Bank, author: Author, seed: int) -> float:
    """How much longer a token takes in a branch of the skill than of the bare base: 0.1 is a tenth. Steps take turns.

    Virtual tokens stand in the skill's branch, so what it costs to attend to them is counted.
    """
    from loraloop.agent.engine import Trunk

    generator = torch.Generator().manual_seed(seed)
    draw = partial(torch.randint, 3, base.config.vocab_size, generator=generator)
    context, branches = draw((CONTEXT,)).tolist(), []
    for which in (Author(base.fingerprints.weights), author):
        trunk = Trunk(base, (), bank.attached)
        trunk.extend(context)
        branches.append(trunk.branch(which))
        branches[-1].feed(base.chat.generation_prompt)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(DECODED + 4):
        token = draw((1,)).tolist()
        for branch, taken in zip(branches, times, strict=True):
            started = perf_counter()
            branch.feed(token)
            taken.append(perf_counter() - started)
    bare, skilled = (median(each[4:]) for each in times)
    return skilled / bare - 1


def measure(job: Job) -> dict[str, Any]:
    """A row of the table."""
    from loraloop.adapters.bank.bank import Bank
    from loraloop.adapters.base import Base
    from loraloop.adapters.methods.galore import Galore, retained
    from loraloop.adapters.skill.skill import Skill

    torch.set_num_threads(job.threads)
    base = Base.load(job.base, quantize=job.form or None, device="cpu")
    asked = cases("test", job.test, job.seed)
    if job.row == "base":
        return {
            "numbers": score(asked, served_outputs(base, None, Author(base.fingerprints.weights), asked)),
            "notes": {},
        }
    kind = ROWS[job.row]
    trainer, tensors, peak = trained(job, kind, base)
    held = [
        tensor for state in trainer.optimizer.state.values() for tensor in state.values() if torch.is_tensor(tensor)
    ]
    found: dict[str, float] = {
        "valid_loss": trainer.best,
        "trainable": sum(tensor.numel() for tensor in trainer.trained.values()),
        "train_s": trainer.spent,
        "peak_mb": (peak + sum(tensor.nbytes for tensor in (*held, *trainer.parameters.values()))) / 1e6,
    }
    notes = {"gpu": kind.gpu} if kind.gpu else {}
    if isinstance(trainer.method, Galore):
        kept = retained(trainer.best_parameters(), trainer.method.rank)["all"]
        notes["rank"] = (
            f"the skill of rank {trainer.method.rank} that is scored keeps {100 * kept:.1f} % of the energy of the "
            "trained difference, whose loss is shown"
        )
    folder = stored(job, base, trainer, tensors)
    skill = Skill.load(folder)
    bank = Bank(base, slots=2, rank=max(8, skill.card.rank or 0))
    other = Skill(skill.card.model_copy(update={"name": f"{skill.card.name}-too"}), skill.tensors)
    names = [bank.add(folder), bank.add(other)]
    author = author_of(base, bank, names[0])
    outputs = served_outputs(base, bank.attached, author, asked)
    found |= {
        "file_mb": sum(file.stat().st_size for file in folder.iterdir()) / 1e6,
        "switch_us": switch_us(bank, names),
        "decode_overhead": overhead(base, bank, author, job.seed),
    }
    notes["kv"] = "reusable" if skill.card.activation == "branch" else "own"
    return {"numbers": found | score(asked, outputs), "notes": notes, "outputs": outputs[:20]}


if __name__ == "__main__":
    die_with_parent()
    print(json.dumps(measure(Job(**json.loads(sys.argv[1])))))
