"""A bank of a thousand skills: registering, activating from each tier, and memory.

    python benchmarks/bank.py --json benchmarks/results/bank.json

The skills are random LoRAs of rank 8 on every linear module of the embedded base, in bf16, made into a temporary
folder. Their tensors are 64 different files, linked into all folders; every card is its own. The files are in the page
cache, as after a first use, so `disk` is our work on a file and not the disk's speed.

`register` is `Bank.add`. `hot` activates a resident skill, `host` one that has been read and must be written into a
slot, `disk` one whose files must be read, checked, hashed and laid out first. `resident` is what the process holds more
than before the bank was made, against the budget of the tiers.

The peer is PEFT: `load_adapter` of the same adapters from the same kind of files, one after another, and `set_adapter`
between them; all of them stay in the model.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import environment  # noqa: F401
import torch
from episode import random_skill
from report import BenchmarkReport, finish, options, quantile

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.skill import Skill

RANK, FILES, PEER = 8, 64, 60


def made(base: Base, name: str, seed: int) -> Skill:
    """A random skill, in the type in which skills are stored."""
    return random_skill(base, name, seed, RANK).to(torch.bfloat16)


def write(base: Base, root: Path, count: int, seed: int) -> list[Path]:
    """`count` skill folders."""
    from loraloop.adapters.skill import store
    from loraloop.adapters.skill.card import Card

    files = [made(base, f"file-{i}", seed + i).save(root / "files" / str(i)) for i in range(min(FILES, count))]
    cards = [Card.from_json((folder / store.CARD).read_text()) for folder in files]
    folders = []
    for index in range(count):
        folder = root / "skills" / f"skill-{index:04d}"
        folder.mkdir(parents=True)
        card = cards[index % len(cards)].model_copy(update={"name": folder.name})
        (folder / store.CARD).write_text(card.to_json())
        os.link(files[index % len(files)] / store.TENSORS, folder / store.TENSORS)
        folders.append(folder)
    return folders


def timed(work: Any, *arguments: Any) -> float:
    """Milliseconds of a call."""
    start = perf_counter()
    work(*arguments)
    return 1e3 * (perf_counter() - start)


def spread(name: str, unit: str, values: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile."""
    return {f"{name}_{unit}_median": median(values), f"{name}_{unit}_p99": quantile(values, 0.99)}


def resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def tiers(base: Base, folders: Sequence[Path]) -> dict[str, float]:
    """Registering, activating, memory."""
    from loraloop.adapters.bank.bank import Bank

    before = resident()
    bank = Bank(base)
    registered = [timed(bank.add, folder) for folder in folders]
    disk = [timed(bank.slot, name) for name in bank.names]
    held = [name for name in bank.names if bank.tier(name) == "host"]
    host = [timed(bank.slot, name) for _ in range(8) for name in held]
    hot = [1e3 * timed(bank.slot, name) for _ in range(500) for name in bank.resident]
    size = bank.bytes
    return {
        **spread("register", "ms", registered),
        **spread("hot", "us", hot),
        **spread("host", "ms", host),
        **spread("disk", "ms", disk),
        "skills_mb": sum((folder / "skill.safetensors").stat().st_size for folder in folders) / 1e6,
        "budget_mb": (size.device + size.host_limit) / 1e6,
        "resident_mb": (resident() - before) / 1e6,
    }


def peft(base: Base, root: Path, count: int, seed: int) -> dict[str, float]:
    """Figures of PEFT."""
    from peft import PeftModel
    from transformers_peer import save_for_peft, transformers_model

    places = [save_for_peft(made(base, f"peer-{i}", seed + i), root / f"peer-{i}", "full") for i in range(count)]
    model = PeftModel.from_pretrained(transformers_model(base), str(places[0]), adapter_name="0")
    started = resident()
    loads = [timed(lambda i=i: model.load_adapter(str(places[i]), adapter_name=str(i))) for i in range(1, count)]
    sets = [timed(model.set_adapter, str(i % count)) for i in range(2 * count)]
    return {
        **spread("disk", "ms", loads),
        **spread("hot", "us", [1e3 * each for each in sets]),
        "resident_mb": (resident() - started) / 1e6,
    }


def main() -> None:
    from loraloop.adapters.base import Base

    parser = options(__doc__.splitlines()[0], limit=1000)
    parser.add_argument("--no-peers", action="store_true", help="measure loraloop alone")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    base = Base.load()
    peers: dict[str, dict[str, float]] = {}
    ratios: dict[str, float] = {}
    count = max(given.limit, 20)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        metrics = tiers(base, write(base, root, count, given.seed))
        if not given.no_peers:
            found = peers["peft"] = peft(base, root, min(PEER, max(count // 10, 6)), given.seed)
            ratios = {name: found[f"{name}_median"] / metrics[f"{name}_median"] for name in ("disk_ms", "hot_us")}
    finish(BenchmarkReport("bank", count, metrics, peers, ratios), given.json)


if __name__ == "__main__":
    main()
