"""A small training that runs as a process of its own: `python training_job.py FOLDER CONFIG.json`."""

from __future__ import annotations

import atexit
import json
import os
import random
import sys
from pathlib import Path

import torch

from loraloop.adapters.base import Message, random_base
from loraloop.adapters.methods.lora import Lora
from loraloop.adapters.training.data.encode import Encoded, encode
from loraloop.adapters.training.trainer.trainer import TrainConfig, Trainer


def examples(count: int, seed: int = 0) -> list[Encoded]:
    """Echo the user's letter, some times more than others."""
    rng, base = random.Random(seed), random_base(0)
    letters = [rng.choice("abcd") for _ in range(count)]
    return [encode(base, [Message("user", f"say {x}" * rng.randint(1, 3))], x * rng.randint(2, 4)) for x in letters]


def at_the_end(folder: Path) -> None:
    """No thread of a process group is left that could need the interpreter."""
    if torch.distributed.is_available() and not torch.distributed.is_initialized():
        Path(folder, f"closed-{os.environ.get('RANK', '0')}").touch()


def main(folder: str, settings: str) -> None:
    torch.set_num_threads(1)
    atexit.register(at_the_end, Path(folder))  # runs after what is registered later
    Path(folder, f"pid-{os.environ.get('RANK', '0')}").write_text(str(os.getpid()), encoding="ascii")
    config = TrainConfig.of(**json.loads(Path(settings).read_text(encoding="utf-8")))
    trainer = Trainer(random_base(0), Lora(4, 8), examples(48), examples(12, 1), config, Path(folder))
    best = trainer.run()
    if trainer.workers.rank == 0:
        last = {name: tensor.detach() for name, tensor in trainer.parameters.items()}
        torch.save({"best": best, "last": last, "workers": trainer.workers.count}, Path(folder, "end.pt"))


if __name__ == "__main__":
    main(*sys.argv[1:])
