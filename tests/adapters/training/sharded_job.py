"""Small trainings over processes that share the base out, as one program: `python sharded_job.py FOLDER CASE ...`.

Each process writes what it found to `FOLDER/CASE-RANK.pt`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch

from loraloop.adapters.base import Base, Message, Row, random_base
from loraloop.adapters.base.decoder import shards as shards_module
from loraloop.adapters.base.decoder.shards import Shards
from loraloop.adapters.methods import make_method
from loraloop.adapters.training.data.encode import Encoded, encode_pair
from loraloop.adapters.training.objectives.distill import Distill, SkillTeacher
from loraloop.adapters.training.objectives.dpo import Dpo
from loraloop.adapters.training.trainer.trainer import TrainConfig, Trainer
from loraloop.tool_schemas.errors import InputError

sys.path.insert(0, str(Path(__file__).parent))

from training_job import examples

LAYERS = 4
_PAIR = {"rank": 4, "alpha": 8.0}
CASES: dict[str, dict[str, Any]] = {
    "lora": {},
    "dora": {"checkpointing": True},
    "pissa": {"method": "lora", "options": _PAIR | {"start": "pissa"}, "trunk_cache_gb": 0.001, "dropout": 0.1},
    "galore": {"options": {"rank": 4}, "optimizer": "galore", "galore_rank": 2},
    "prefix": {"options": {"text": "say", "tokens": 4}},
    "dpo": {"method": "lora", "mode": "full"},
    "distill": {"method": "lora"},
    "untied": {"method": "lora", "precision": "bf16"},
}


def base_of(case: str) -> Base:
    return random_base(0, layers=LAYERS, tied_embeddings=case != "untied")


def pairs(base: Base, count: int) -> list[Encoded]:
    return [encode_pair(base, [Message("user", f"say {'abc'[i % 3]}")], "abc"[i % 3] * 3, "no") for i in range(count)]


def trainer_of(case: str, folder: Path, accumulation: int = 1) -> Trainer:
    given = dict(CASES[case])
    base, name, options = base_of(case), given.pop("method", case), given.pop("options", _PAIR)
    config = TrainConfig.of(
        **{"steps": 4, "batch": 2, "accumulation": accumulation, "learning_rate": 1e-2, "validate_every": 2, **given}
    )
    method, objective = make_method(name, options), None
    if case == "dpo":
        objective = Dpo()
    if case == "distill":
        teacher = make_method("ia3", {})
        generator = torch.Generator().manual_seed(3)
        drawn = {
            key: (1 + 0.3 * torch.randn(tensor.shape, generator=generator))
            for key, tensor in teacher.init(context_of(base), 1).items()
        }
        objective = Distill(SkillTeacher(teacher.payload(drawn, context_of(base))), share=0.5)
    made = (pairs(base, 16), pairs(base, 6)) if case == "dpo" else (examples(24), examples(12, 1))
    return Trainer(base, method, *made, config, folder / f"{case}-run", objective=objective)


def context_of(base: Base) -> Any:
    from loraloop.adapters.methods.context import MethodContext

    return MethodContext(base.config)


def held(shards: Shards) -> dict[str, int]:
    """Bytes of storage that the weights of a base take in this process: those whole, and all."""
    from torch.distributed.tensor import DTensor

    whole = [p for unit in shards._units for p in unit.parameters() if not isinstance(p, DTensor)]
    parts = [p.to_local() for unit in shards._units for p in unit.parameters() if isinstance(p, DTensor)]
    whole += vars(shards._table[1]).values() if shards._table else ()
    sizes = [sum(tensor.untyped_storage().nbytes() for tensor in each) for each in (whole, parts)]
    return {"whole": sizes[0], "parts": sizes[1]}


def served(trainer: Trainer) -> torch.Tensor:
    """What the served base computes, in this process alone."""
    base = trainer.base
    return base.forward([Row([1, 2, 3], base.new_cache())]).hidden


def main(folder: str, *cases: str) -> None:
    torch.set_num_threads(1)
    shards_module.BLOCK = 10_000  # tables of this size are gathered in blocks
    for case in cases:
        trainer = trainer_of(case, Path(folder))
        before = served(trainer) if trainer.workers.rank == 0 else None
        shards, most = trainer.shards, 0
        if shards is not None:
            use = shards.use

            def watched(place: int, use: Any = use, shards: Shards = shards) -> Any:
                nonlocal most
                found = use(place)
                most = max(most, held(shards)["whole"])
                return found

            shards.use = watched  # type: ignore[method-assign]
        finished = trainer.run()
        found: dict[str, Any] = {
            "finished": finished,
            "last": {name: tensor.detach() for name, tensor in trainer.parameters.items()},
            "valid": trainer.best,
            "most": most,
            "serves": before is not None and torch.equal(served(trainer), before),
        }
        if shards is not None:
            found |= held(shards) | {"part": shards.part, "own": trainer.base.decoder is trainer.decoder}
            if trainer.workers.rank:
                try:
                    Trainer(
                        trainer.base, trainer.method, trainer.train_set, trainer.valid_set, trainer.config, Path(folder)
                    )
                except InputError as error:
                    found["again"] = str(error)
        torch.save(found, Path(folder, f"{case}-{os.environ.get('RANK', '0')}.pt"))


if __name__ == "__main__":
    main(*sys.argv[1:])
