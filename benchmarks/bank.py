"""A bank of a thousand skills: registering, activating, memory, and a skewed access pattern with and without prefetch.

    python benchmarks/bank.py --json benchmarks/results/bank.json

The skills are random LoRAs of rank 8 on every linear module of the embedded base, in bf16, made into a temporary
folder. Their tensors are 64 different files, linked into all folders; every card is its own. The files are in the page
cache, as after a first use, so `disk` is our work on a file and not the disk's speed.

`register` is `Bank.add`. `hot` activates a resident skill, `host` one that has been read and must be written into a
slot, `disk` one whose files must be read, checked, hashed and laid out first. `first_100` and `last_100` are the first
and the last skills that were registered, each measured when the bank had just them as its newest: the times must not
grow. `resident` is what the process holds more than before the bank was made, against the budget of the tiers.

The access pattern is Zipf's (exponent 1) over all skills. A step activates the next skill, decodes 16 tokens on it and
waits 30 ms for a tool; `wait` is what the activation took. With prefetch the bank is told a skill when the tool begins,
and it is the right one in 7 of 10 steps: what a habit is worth. `steps` is all steps and waits together, without tools.
`step_beside_prefetch` is a step while another skill is being read: what it costs to read where all cores are at work.

The peer is PEFT: `load_adapter` of the same adapters from the same kind of files, one after another, and `set_adapter`
between them; all of them stay in the model.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as loraloop sets it, which is imported after torch here
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from episode import random_skill
from report import BenchmarkReport, finish, options

if TYPE_CHECKING:
    from loraloop.adapters.base import Base
    from loraloop.adapters.skill.skill import Skill

RANK, FILES, PEER = 8, 64, 60
STEPS, TOKENS, TOOL, RIGHT = 200, 16, 0.03, 0.7


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
    ordered = sorted(values)
    return {f"{name}_{unit}_median": median(ordered), f"{name}_{unit}_p99": ordered[round(0.99 * (len(ordered) - 1))]}


def resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def tiers(base: Base, folders: Sequence[Path], metrics: dict[str, float]) -> None:
    """Registering, activating, memory."""
    from loraloop.adapters.bank.bank import Bank

    before = resident()
    bank = Bank(base)
    few = min(100, len(folders) // 2)
    registered = [timed(bank.add, folder) for folder in folders[:few]]
    first = [timed(bank.slot, name) for name in bank.names]
    middle = resident()
    registered += [timed(bank.add, folder) for folder in folders[few:]]
    metrics["registered_kb_each"] = max(resident() - middle, 0) / 1e3 / (len(folders) - few)
    disk = [timed(bank.slot, name) for name in bank.names[few:]]
    held = [name for name in bank.names if bank.tier(name) == "host"]
    host = [timed(bank.slot, name) for _ in range(8) for name in held]
    hot = [1e3 * timed(bank.slot, name) for _ in range(500) for name in bank.resident]
    metrics |= spread("register", "ms", registered)
    metrics |= {"register_first_100_ms": median(registered[:few]), "register_last_100_ms": median(registered[-few:])}
    metrics |= spread("hot", "us", hot) | spread("host", "ms", host) | spread("disk", "ms", [*first, *disk])
    metrics |= {"disk_first_100_ms": median(first), "disk_last_100_ms": median(disk[-few:])}
    size = bank.bytes
    metrics |= {
        "skills_mb": sum((folder / "skill.safetensors").stat().st_size for folder in folders) / 1e6,
        "budget_mb": (size.device + size.host_limit) / 1e6,
        "resident_mb": (resident() - before) / 1e6,
    }


def trace(base: Base, folders: Sequence[Path], steps: int, seed: int, ahead: bool) -> tuple[list[float], list[float]]:
    """Milliseconds that each step waited for its skill, and that its tokens took."""
    from loraloop.adapters.bank.bank import Bank
    from loraloop.adapters.base import Row

    bank = Bank(base)
    for folder in folders:
        bank.add(folder)
    rng = random.Random(seed)
    names = rng.sample(bank.names, len(bank.names))
    weights = [1 / (rank + 1) for rank in range(len(names))]
    asked = rng.choices(names, weights, k=steps + 1)
    hints = [name if rng.random() < RIGHT else rng.choices(names, weights)[0] for name in asked]
    waits, works = [], []
    cache = base.new_cache()
    base.forward([Row(list(range(100, 200)), cache)])
    for step in range(steps):
        start = perf_counter()
        slot = bank.pin(asked[step])
        waits.append(1e3 * (perf_counter() - start))
        start = perf_counter()
        for token in range(TOKENS):
            base.forward([Row([100 + token], cache, slot)], attached=bank.attached)
        works.append(1e3 * (perf_counter() - start))
        bank.unpin(asked[step])
        if ahead:
            bank.prefetch(hints[step + 1])
        sleep(TOOL)
        cache.truncate(100)
    bank.settle()
    return waits, works


def beside(base: Base, folders: Sequence[Path], seed: int) -> dict[str, float]:
    """What a step takes alone, and while a skill is read and written into a slot beside it; the steps take turns."""
    from loraloop.adapters.bank.bank import Bank
    from loraloop.adapters.base import Row

    bank = Bank(base)
    for folder in folders:
        bank.add(folder)
    slot, cache = bank.pin(bank.names[0]), base.new_cache()
    base.forward([Row(list(range(100, 200)), cache)])
    times: dict[bool, list[float]] = {False: [], True: []}
    for step, name in enumerate(random.Random(seed).sample(bank.names[1:], min(80, len(folders) - 1))):
        if step % 2:
            bank.prefetch(name)
        start = perf_counter()
        for token in range(TOKENS):
            base.forward([Row([100 + token], cache, slot)], attached=bank.attached)
        times[bool(step % 2)].append(1e3 * (perf_counter() - start))
        bank.settle()
        cache.truncate(100)
    return {"step_ms": median(times[False]), "step_beside_prefetch_ms": median(times[True])}


def peft(base: Base, root: Path, count: int, seed: int) -> dict[str, float]:
    """The same of PEFT."""
    from peft import PeftModel
    from transformers_peer import save_for_peft, transformers_model

    places = [save_for_peft(made(base, f"peer-{i}", seed + i), root / f"peer-{i}", "full") for i in range(count)]
    model = PeftModel.from_pretrained(transformers_model(base), str(places[0]), adapter_name="0")
    started = resident()
    loads = [timed(lambda i=i: model.load_adapter(str(places[i]), adapter_name=str(i))) for i in range(1, count)]
    sets = [timed(model.set_adapter, str(i % count)) for i in range(2 * count)]
    few = max(len(loads) // 6, 1)
    return {
        **spread("disk", "ms", loads),
        "disk_first_100_ms": median(loads[:few]),
        "disk_last_100_ms": median(loads[-few:]),
        **{name: 1e3 * value for name, value in spread("hot", "us", sets).items()},
        "resident_mb": (resident() - started) / 1e6,
    }


def main() -> None:
    from loraloop.adapters.base import Base

    parser = options(__doc__.splitlines()[0], limit=1000)
    parser.add_argument("--no-peers", action="store_true", help="measure loraloop alone")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")
    base = Base.load()
    metrics: dict[str, float] = {}
    peers: dict[str, dict[str, float]] = {}
    ratios: dict[str, float] = {}
    count = max(given.limit, 20)
    steps = min(STEPS, 3 * count)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        folders = write(base, root, count, given.seed)
        tiers(base, folders, metrics)
        for name, ahead in (("alone", False), ("prefetch", True)):
            waits, works = trace(base, folders, steps, given.seed, ahead)
            metrics |= spread(f"wait_{name}", "ms", waits) | {f"wait_{name}_ms_mean": sum(waits) / len(waits)}
            metrics[f"steps_{name}_s"] = (sum(waits) + sum(works)) / 1e3
        metrics |= beside(base, folders, given.seed)
        if not given.no_peers:
            found = peft(base, root, min(PEER, max(count // 10, 6)), given.seed)
            peers["peft"] = found
            ratios = {
                "disk": found["disk_ms_median"] / metrics["disk_ms_median"],
                "disk_last": found["disk_last_100_ms"] / metrics["disk_last_100_ms"],
                "hot": found["hot_us_median"] / metrics["hot_us_median"],
            }
    finish(BenchmarkReport("bank", count, metrics, peers, ratios), given.json)


if __name__ == "__main__":
    main()
