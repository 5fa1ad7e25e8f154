"""Many agents at once on one base: tokens a second, the wait for the first token, gaps between tokens, and memory.

    python benchmarks/agents.py --json benchmarks/results/agents.json

N agents (1, 4, 8, 16, 32, 64) begin together, each in a thread of its own: it reads its prompt of 64 tokens, perhaps
after instructions of 1 500 tokens that all agents have, and writes 48 tokens greedily under a skill. Skills are random
LoRAs of rank 16 on every linear module: `same` has all agents on one of them, `mixed` each on another (of 16). `free`
is free text; `forced` is JSON under a schema, most of whose tokens the grammar forces.

- `tokens/s`: what all agents wrote, forced tokens included, over the time it took once all prompts were read.
- `first`: milliseconds of reading the prompt and writing the first token, mean over agents that begin at once; `gap`:
  between an agent's tokens, p50 and p99.
- `MB`: the agents' caches when all have written; pages that they share count once.

Beside them: `bare` is the decoder alone with as many rows (one forward after the other, tokens given); `turns` is the
same agents with a lock around each forward, as it was before there was a scheduler; `prompts` lets prompts of 4 000
tokens arrive, one after the other, while eight agents write. Peers in the same run: PEFT on transformers, one request
after the other with `set_adapter`; llama.cpp (`--llama-python`), which does not batch different LoRAs, likewise.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median, quantiles
from time import perf_counter
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from episode import random_skill
from report import BenchmarkReport, finish, options

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base, Row
from loraloop.adapters.base.decoder.native_cache import distinct
from loraloop.agent.engine import Author, Budget, Generated, Sampler, Sampling, Trunk, generate
from loraloop.agent.engine.prefix_cache import PrefixCache
from loraloop.agent.engine.scheduler import Scheduler
from loraloop.tool_schemas.grammar.compiler import GrammarCompiler
from loraloop.tool_schemas.grammar.grammar import JsonSchema

if TYPE_CHECKING:
    from loraloop.adapters.skill.skill import Skill
    from loraloop.agent.engine.sequence import Work

AGENTS = (1, 4, 8, 16, 32, 64)
SKILLS, RANK, PROMPT, TOKENS, INSTRUCTIONS, LONG = 16, 16, 64, 48, 1500, 4000
NAMES = [f"the_value_of_the_{number}_property" for number in ("first", "second", "third", "fourth", "fifth", "sixth")]
FORM = {
    "type": "object",
    "properties": {name: {"enum": [0, 1]} for name in NAMES},
    "required": NAMES,
    "additionalProperties": False,
}


class Turns(Scheduler):
    """As it was: runs take turns token by token under one lock, and nothing is shared."""

    def __init__(self, base: Base, attached: Any) -> None:
        super().__init__(base, attached)
        self._turn = threading.Lock()

    def compute(self, works: Sequence[Work]) -> None:
        for work in works:
            while work.rest:
                with self._turn:
                    self._forward([(work, min(work.rest, 512))], alone=True)


class Timed(Sampler):
    """Greedy, and notes when each token was chosen."""

    def __init__(self) -> None:
        super().__init__(Sampling())
        self.times: list[float] = []

    def pick(self, logits: torch.Tensor) -> int:
        token = super().pick(logits)
        self.times.append(perf_counter())
        return token


@dataclass
class Wrote:
    """What one agent wrote, and when."""

    times: list[float] = field(default_factory=list)
    read: float = 0.0
    tokens: int = 0
    trunk: Trunk | None = None


@dataclass
class Bench:
    """A base with skills, and prompts that are the same in every way."""

    base: Base
    skills: list[Skill]
    seed: int
    tokens: int

    def __post_init__(self) -> None:
        self.bank = Bank(self.base, slots=len(self.skills), rank=RANK)
        names = [self.bank.add(skill) for skill in self.skills]
        weights = self.base.fingerprints.weights
        self.authors = [Author(weights, n, self.bank.slot(n), "branch", self.bank.identity(n)) for n in names]
        base = self.base
        compiler = GrammarCompiler(base.tokenizer.json, base.config.vocab_size, base.chat.closing[0])
        self.grammar = compiler.compile(JsonSchema(FORM))
        self.instructions = self.drawn(0, INSTRUCTIONS)

    def drawn(self, seed: int, count: int) -> list[int]:
        rng = random.Random(1000 * self.seed + seed)
        return [rng.randrange(100, 20_000) for _ in range(count)]

    def agents(
        self, count: int, *, mixed: bool, shared: bool = False, forced: bool = False, turns: bool = False,
        prompts: int = 0,
    ) -> dict[str, float]:  # fmt: skip
        """Figures of so many agents; `prompts` long ones arrive while they write."""
        scheduler = (Turns if turns else Scheduler)(self.base, self.bank.attached)
        prefixes = None if turns else PrefixCache()
        done, barrier = [Wrote() for _ in range(count)], threading.Barrier(count + 1)

        def write(at: int) -> None:
            trunk = Trunk(self.base, scheduler=scheduler, prefixes=prefixes)
            trunk.extend([*(self.instructions if shared else ()), *self.drawn(1 + at, PROMPT)])
            sampler, mine = Timed(), done[at]
            barrier.wait()
            begin = perf_counter()
            trunk.flush()
            mine.read = perf_counter() - begin
            barrier.wait()
            branch = trunk.branch(self.authors[at % SKILLS if mixed else 0])
            state, budget = self.grammar.start() if forced else None, Budget(160 if forced else self.tokens)
            for piece in generate(branch, [5], sampler, budget, stop_ids=frozenset(), constraint=state):
                if isinstance(piece, Generated):
                    mine.tokens = len(piece.ids)
            mine.times, mine.trunk = sampler.times, trunk

        def arrive() -> None:
            began.wait()
            for number in range(prompts):
                trunk = Trunk(self.base, scheduler=scheduler)
                trunk.extend(self.drawn(900 + number, LONG))
                trunk.flush()
                first.append(perf_counter())

        first, began = list[float](), threading.Event()
        threads = [threading.Thread(target=write, args=(at,)) for at in range(count)]
        threads += [threading.Thread(target=arrive)] if prompts else []
        for thread in threads:
            thread.start()
        barrier.wait()
        barrier.wait()
        start = perf_counter()
        began.set()
        for thread in threads:
            thread.join()
        gaps = [after - before for each in done for before, after in zip(each.times, each.times[1:], strict=False)]
        ends, cut = max(each.times[-1] for each in done), quantiles(gaps, n=100)
        caches = [each.trunk.sequence.cache for each in done if each.trunk is not None]
        figures = {
            "tokens/s": sum(each.tokens for each in done) / (ends - start),
            "first_ms": 1e3 * mean(each.read + each.times[0] - start for each in done),
            "gap_p50_ms": 1e3 * cut[49],
            "gap_p99_ms": 1e3 * cut[98],
            "MB": distinct(caches)[1] / 1e6,
        }
        return figures | ({"long_first_ms": 1e3 * (first[0] - start)} if first else {})

    def bare(self, count: int) -> float:
        """Tokens a second of the decoder alone, every row on another skill."""
        caches = [self.base.new_cache() for _ in range(count)]
        for at, cache in enumerate(caches):
            self.base.forward([Row(self.drawn(1 + at, PROMPT), cache)])
        start = perf_counter()
        for step in range(self.tokens):
            rows = [Row([100 + step], c, self.authors[at % SKILLS].slot) for at, c in enumerate(caches)]
            self.base.logits(self.base.forward(rows, attached=self.bank.attached).hidden)
        return count * self.tokens / (perf_counter() - start)


def ours(bench: Bench, counts: Sequence[int], repeats: int) -> dict[str, float]:
    """All ways, which take turns; medians."""
    found: dict[str, list[float]] = {}

    def note(name: str, figures: dict[str, float]) -> None:
        for figure, value in figures.items():
            found.setdefault(f"{name}, {figure}", []).append(value)

    for count in counts:
        for _ in range(repeats):
            note(f"bare, {count}", {"tokens/s": bench.bare(count)})
            for mixed in (False, True):
                way = "mixed" if mixed else "same"
                note(f"free, {way}, {count}", bench.agents(count, mixed=mixed))
                note(f"free, {way}, shared prefix, {count}", bench.agents(count, mixed=mixed, shared=True))
            note(f"forced, mixed, {count}", bench.agents(count, mixed=True, forced=True))
            if count <= 16:
                note(f"turns, mixed, {count}", bench.agents(count, mixed=True, turns=True))
    for _ in range(repeats):
        note("without prompts, mixed, 8", bench.agents(8, mixed=True))
        note("with prompts, mixed, 8", bench.agents(8, mixed=True, prompts=2))
    return {name: median(values) for name, values in found.items()}


def peft(bench: Bench, count: int) -> float:
    """Tokens a second of PEFT: one request after the other, each with its own adapter set."""
    from transformers_peer import transformers_model, with_adapters

    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        model = with_adapters(transformers_model(bench.base), bench.skills, Path(folder), "full")
        seconds, told = 0.0, {"max_new_tokens": bench.tokens, "min_new_tokens": bench.tokens, "do_sample": False}
        for at in range(count):
            model.set_adapter(f"full-{bench.skills[at % SKILLS].card.name}")
            ids = torch.tensor([bench.drawn(1 + at, PROMPT)])
            start = perf_counter()
            model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), pad_token_id=0, **told)
            seconds += perf_counter() - start
    return count * bench.tokens / seconds


def llama(bench: Bench, python: str, gguf: Path, threads: int) -> float:
    """Tokens a second of llama.cpp with one adapter applied: what agents on different ones share among them."""
    import llama_peer

    with tempfile.TemporaryDirectory() as folder:
        lora = llama_peer.write_lora(bench.base, bench.skills[0], Path(folder) / "lora.gguf")
        with llama_peer.llama(python, gguf, threads, lora) as worker:
            assert worker is not None
            return 1 / float(
                worker.ask("decode", context=PROMPT, flash=True, skill=True, steps=bench.tokens)["seconds"]
            )


def main() -> None:
    import llama_peer

    parser = options(__doc__.splitlines()[0], limit=3)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--agents", default=",".join(map(str, AGENTS)), help="how many at once, separated by commas")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="that each agent writes; at most 95")
    parser.add_argument("--no-peers", action="store_true", help="measure loraloop alone")
    parser.add_argument("--gguf", type=Path, help="the base for llama.cpp")
    llama_peer.add_option(parser)
    given = parser.parse_args()
    torch.set_num_threads(given.threads or torch.get_num_threads())
    warnings.simplefilter("ignore")
    base, counts = Base.load(given.base), [int(each) for each in given.agents.split(",")]
    skills = [random_skill(base, f"skill-{at}", given.seed + at, RANK).to(torch.bfloat16) for at in range(SKILLS)]
    bench = Bench(base, skills, given.seed, given.tokens)
    metrics = ours(bench, counts, given.limit)
    ratios = {
        f"scheduler over turns, {count} agents": metrics[f"free, mixed, {count}, tokens/s"]
        / metrics[f"turns, mixed, {count}, tokens/s"]
        for count in counts
        if count <= 16
    }
    most = max(count for count in counts if count <= 16)
    if 1 in counts and most > 1:
        gain = metrics[f"bare, {most}, tokens/s"] / metrics["bare, 1, tokens/s"]
        own = metrics[f"free, mixed, {most}, tokens/s"] / metrics["free, mixed, 1, tokens/s"]
        ratios[f"share of the decoder's own gain, {most} agents"] = own / gain
    peers: dict[str, dict[str, float]] = {}
    if not given.no_peers:
        peers["peft"] = {"one after the other, tokens/s": peft(bench, 4)}
        python = llama_peer.interpreter(given.llama_python) if given.gguf else None
        if python is not None:
            speed = llama(bench, python, given.gguf, torch.get_num_threads())
            peers["llama.cpp"] = {"one after the other, tokens/s": speed}
        for name, figures in peers.items():
            best = metrics[f"free, mixed, {most}, tokens/s"]
            ratios[f"{most} agents over {name}"] = best / figures["one after the other, tokens/s"]
    finish(BenchmarkReport("agents", given.limit, metrics, peers, ratios), given.json)


if __name__ == "__main__":
    main()
