"""Many agents at once on one base: tokens a second, the wait for the first token, gaps between tokens, and memory.

    python benchmarks/agents.py --json benchmarks/results/agents.json
    python benchmarks/agents.py --base qwen2.5-coder-1.5b --parts free,newcomer --agents 1,16 --json FILE

N agents (1, 4, 8, 16, 32, 64) begin together, each in a thread of its own: it reads its prompt of 64 tokens, perhaps
after instructions of 1 500 tokens that all agents have, and writes 48 tokens under a skill. Skills are random LoRAs of
rank 16 on every linear module: `same` has all agents on one of them, `mixed` each on another (of 16). Each of `--parts`
can be measured alone; the file of `--json` is written after each number of agents.

- `alone`: one agent with the scheduler and with a lock, in turn, `--pairs` times: the median of the lock's time over
  the scheduler's, and its 95 % interval.
- `free`: free text, same and mixed skills, each with and without the instructions.
- `forced`: JSON under a schema, most of whose tokens the grammar forces.
- `lock`: the agents with a lock around each forward, as it was before there was a scheduler; nothing is shared.
- `newcomer`: three seconds after a prompt of 8 000 tokens a request of 50 tokens arrives and writes 16; and it alone.
- `peers`: of those that are here, PEFT on transformers, one request after the other with `set_adapter`; llama.cpp's
  server (`--llama-server`, `--gguf`) and vLLM's (`--vllm-python`), which are asked by as many clients at once.

`tokens_per_s` is what all agents wrote, forced tokens included, over the time once all prompts were read;
`whole_per_s` counts the reading too. `first_ms`: of reading the prompt and writing the first token, on average;
`gap`: between an agent's tokens. `MB`: the agents' caches when all have written; pages that they share count once.
"""

from __future__ import annotations

import random
import sys
import threading
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import agents_peers
import torch
from agents_peers import AgentTimes, figures_of
from episode import random_skill
from report import BenchmarkReport, finish, number, options

from loraloop.adapters.bank.bank import Bank
from loraloop.adapters.base import Base
from loraloop.adapters.base.decoder.native_cache import distinct
from loraloop.agent.engine.cache.ledger import Author
from loraloop.agent.engine.cache.prefix_cache import PrefixCache
from loraloop.agent.engine.cache.sequence import Interrupted, RequestContext
from loraloop.agent.engine.generate import Generated, GenerateRequest, generate
from loraloop.agent.engine.sampler import Sampler, Sampling
from loraloop.agent.engine.scheduler import Scheduler
from loraloop.agent.engine.trunk import Trunk
from loraloop.tool_schemas.grammar.compiler import GrammarCompiler
from loraloop.tool_schemas.grammar.grammar import JsonSchema

if TYPE_CHECKING:
    from loraloop.adapters.skill.skill import Skill
    from loraloop.agent.engine.cache.sequence import ComputeRequest

PARTS = ("alone", "free", "forced", "lock", "newcomer", "peers")
AGENTS = (1, 4, 8, 16, 32, 64)
SKILLS, RANK, PROMPT, TOKENS, INSTRUCTIONS, LONG = 16, 16, 64, 48, 1500, 8000
NAMES = [f"the_value_of_the_{number}_property" for number in ("first", "second", "third", "fourth", "fifth", "sixth")]
FORM = {
    "type": "object",
    "properties": {name: {"enum": [0, 1]} for name in NAMES},
    "required": NAMES,
    "additionalProperties": False,
}


class Locked(Scheduler):
    """As it was: a lock around each forward, token by token, and nothing is shared."""

    def __init__(self, base: Base, attached: Any) -> None:
        super().__init__(base, attached)
        self._turn = threading.Lock()

    def compute(self, request: ComputeRequest) -> None:
        while request.rest:
            count = min(request.rest, 512)
            with self._turn:
                out = self.base.forward([request.row(count)], attached=self.attached, keep=request.keep)
            request.take(out, 0, count)
        if request.logits and request.states is not None:
            with self._turn:
                request.scores = self.base.logits(request.states)


class Timed(Sampler):
    """Notes when each token was chosen. Free text costs what greedy text does, but is drawn: it repeats nothing."""

    def __init__(self, seed: int | None) -> None:
        super().__init__(Sampling())
        self.times: list[float] = []
        self._drawn = None if seed is None else random.Random(seed)

    def pick(self, logits: torch.Tensor) -> int:
        token = super().pick(logits)
        self.times.append(perf_counter())
        return token if self._drawn is None else self._drawn.randrange(100, 20_000)


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
        compiler = GrammarCompiler(base.vocabulary)
        self.grammar = compiler.compile(JsonSchema(FORM))

    def drawn(self, seed: int, count: int) -> list[int]:
        rng = random.Random(1000 * self.seed + seed)
        return [rng.randrange(100, 20_000) for _ in range(count)]

    def prompt(self, at: int, shared: bool) -> list[int]:
        """What an agent reads."""
        return [*(self.drawn(0, INSTRUCTIONS) if shared else ()), *self.drawn(1 + at, PROMPT)]

    def agents(
        self, count: int, *, mixed: bool, shared: bool = False, forced: bool = False, lock: bool = False
    ) -> dict[str, float]:
        """Figures of so many agents."""
        scheduler = (Locked if lock else Scheduler)(self.base, self.bank.attached)
        prefixes = None if lock else PrefixCache()
        done, barrier = [AgentTimes() for _ in range(count)], threading.Barrier(count + 1)
        all_begin = list[float]()

        def write(at: int) -> None:
            trunk = Trunk(self.base, scheduler=scheduler, prefixes=prefixes)
            trunk.extend(self.prompt(at, shared))
            sampler, mine = Timed(None if forced else at), done[at]
            barrier.wait()
            trunk.flush()
            mine.ready = perf_counter() - all_begin[0]
            barrier.wait()
            go = perf_counter()
            branch = trunk.branch(self.authors[at % SKILLS if mixed else 0])
            state = self.grammar.start() if forced else None
            most = 160 if forced else self.tokens
            request = GenerateRequest(
                invocation=[5], sampler=sampler, max_tokens=most, stop_ids=frozenset(), constraint=state
            )
            for piece in generate(branch, request):
                if isinstance(piece, Generated):
                    mine.tokens = len(piece.ids)
            branch.close()
            mine.times, mine.trunk = [time - all_begin[0] for time in sampler.times], trunk
            mine.first = mine.ready + sampler.times[0] - go

        threads = [threading.Thread(target=write, args=(at,)) for at in range(count)]
        for thread in threads:
            thread.start()
        all_begin.append(perf_counter())
        barrier.wait()
        barrier.wait()
        for thread in threads:
            thread.join()
        size = distinct([each.trunk.sequence.cache for each in done if each.trunk is not None])[1]
        return figures_of(done) | {"MB": size / 1e6, "tokens": mean(each.tokens for each in done)}

    def newcomer(self, beside: bool) -> dict[str, float]:
        """What a short request waits for, beside a long prompt that is being read or alone."""
        scheduler, over = Scheduler(self.base, self.bank.attached), threading.Event()
        long, short = (Trunk(self.base, scheduler=scheduler) for _ in range(2))
        long.extend(self.drawn(900, LONG))
        long.request_context = RequestContext(cancelled=over.is_set)

        def read() -> None:
            with suppress(Interrupted):
                long.flush()

        reader, sampler = threading.Thread(target=read), Timed(0)
        if beside:
            reader.start()
            sleep(3)
        start = perf_counter()
        short.extend(self.drawn(1, 50))
        short.flush()
        request = GenerateRequest(invocation=[5], sampler=sampler, max_tokens=16, stop_ids=frozenset())
        list(generate(short.branch(self.authors[0]), request))
        if beside:
            assert reader.is_alive(), "the long prompt was read too soon"
            over.set()
            reader.join()
        gaps = [after - before for before, after in pairwise(sampler.times)]
        return {"first_ms": 1e3 * (sampler.times[0] - start), "gap_p50_ms": 1e3 * median(gaps)}

    def one(self, lock: bool) -> float:
        """Seconds of one agent's writing."""
        scheduler = (Locked if lock else Scheduler)(self.base, self.bank.attached)
        trunk = Trunk(self.base, scheduler=scheduler)
        trunk.extend(self.prompt(0, shared=False))
        branch, start = trunk.branch(self.authors[0]), perf_counter()
        request = GenerateRequest(invocation=[5], sampler=Timed(0), max_tokens=self.tokens, stop_ids=frozenset())
        for _ in generate(branch, request):
            pass
        return perf_counter() - start


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median and its 95 % interval, by order: the sign test's."""
    ordered, half = sorted(values), 0.98 * len(values) ** 0.5
    low = max(0, int(len(ordered) / 2 - half))
    return median(ordered), ordered[low], ordered[-1 - low]


def alone(bench: Bench, pairs: int) -> dict[str, float]:
    """Lock over scheduler for one agent; the order changes from pair to pair."""
    bench.one(lock=False)
    ratios, ours = list[float](), list[float]()
    for pair in range(pairs):
        seconds = {lock: bench.one(lock) for lock in ((False, True) if pair % 2 else (True, False))}
        ours.append(seconds[False])
        ratios.append(seconds[True] / seconds[False])
    middle, low, high = interval(ratios)
    share = {"alone, of the lock": middle, "alone, of the lock_low": low, "alone, of the lock_high": high}
    return {"alone, tokens_per_s": bench.tokens / median(ours), **share}


def measured(bench: Bench, part: str, count: int, repeats: int) -> dict[str, float]:
    """The figures of one part at one number of agents: medians."""
    found: dict[str, list[float]] = {}

    def note(name: str, figures: dict[str, float]) -> None:
        for figure, value in figures.items():
            found.setdefault(f"{name}, {figure}", []).append(value)

    for _ in range(repeats):
        if part == "free":
            for mixed in (False, True):
                way = "mixed" if mixed else "same"
                note(f"free, {way}, {count}", bench.agents(count, mixed=mixed))
                note(f"free, {way}, shared prefix, {count}", bench.agents(count, mixed=mixed, shared=True))
        elif part == "forced":
            note(f"forced, mixed, {count}", bench.agents(count, mixed=True, forced=True))
        elif part == "lock":
            note(f"lock, mixed, {count}", bench.agents(count, mixed=True, lock=True))
        elif part == "newcomer":
            note("newcomer, beside a long prompt", bench.newcomer(beside=True))
            note("newcomer, alone", bench.newcomer(beside=False))
    return {name: median(values) for name, values in found.items()}


def ratios_of(metrics: Mapping[str, float], peers: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """All that what is known allows; above 1 is better for us."""
    found: dict[str, float] = {}

    def ratio(name: str, above: float | None, below: float | None) -> None:
        if above and below:
            found[name] = above / below

    for count in AGENTS:
        ours, locked = (metrics.get(f"{way}, mixed, {count}, tokens_per_s") for way in ("free", "lock"))
        if count > 1:  # one alone is measured in pairs
            ratio(f"scheduler over lock, {count} agents", ours, locked)
        shared, single = (metrics.get(f"free, mixed, shared prefix, {each}, MB") for each in (count, 1))
        if count > 1:
            ratio(f"memory without sharing over with it, {count} agents", count * (single or 0.0), shared)
        for name, theirs in peers.items():
            for way in ("mixed", "same"):
                whole = f"free, {way}, {count}, whole_per_s"
                ratio(f"over {name}, {way}, {count} agents", metrics.get(whole), theirs.get(whole))
    return found


@dataclass
class Results:
    """The document so far; written after each figure, so that a run that is stopped leaves what it measured."""

    base: str
    repeats: int
    path: Path | None
    metrics: dict[str, float] = field(default_factory=dict)
    peers: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, figures: Mapping[str, float], peer: str = "") -> None:
        """Adds figures of this base, of a peer where one is named."""
        into = self.peers.setdefault(peer, {}) if peer else self.metrics
        for name, value in figures.items():
            into[f"{self.base}: {name}"] = value
            print(f"{peer or 'loraloop'}: {name} {number(value)}", file=sys.stderr, flush=True)
        if self.path is not None:
            self.report().write(self.path)

    def report(self) -> BenchmarkReport:
        """The figures so far, with their ratios."""
        own = _of(self.base, self.metrics)
        peers = {name: _of(self.base, figures) for name, figures in self.peers.items()}
        ratios = {f"{self.base}: {name}": ratio for name, ratio in ratios_of(own, peers).items()}
        return BenchmarkReport("agents", self.repeats, self.metrics, self.peers, ratios)


def _of(base: str, figures: Mapping[str, float]) -> dict[str, float]:
    return {name.partition(": ")[2]: value for name, value in figures.items() if name.startswith(f"{base}: ")}


def main() -> None:
    parser = options(__doc__.splitlines()[0], limit=3)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--parts", default=",".join(PARTS), help="what to measure, separated by commas")
    parser.add_argument("--agents", default=",".join(map(str, AGENTS)), help="how many at once, separated by commas")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="that each agent writes")
    parser.add_argument("--pairs", type=int, default=24, help="of the part `alone`")
    agents_peers.add_options(parser)
    given = parser.parse_args()
    parts, counts = given.parts.split(","), [int(each) for each in given.agents.split(",")]
    if wrong := set(parts) - set(PARTS):
        parser.error(f"--parts has {', '.join(sorted(wrong))}: use {', '.join(PARTS)}")
    warnings.simplefilter("ignore")
    base = Base.load(given.base)
    skills = [random_skill(base, f"skill-{at}", given.seed + at, RANK).to(torch.bfloat16) for at in range(SKILLS)]
    bench = Bench(base, skills, given.seed, given.tokens)
    results = Results(given.base, given.limit, given.json)
    for part in parts:
        if part == "alone":
            results.add(alone(bench, given.pairs))
        elif part == "peers":
            for peer, figures in agents_peers.measured(bench, counts, given):
                results.add(figures, peer)
        else:
            chosen = [8] if part == "newcomer" else [n for n in counts if part != "lock" or n <= 16]
            for count in chosen:
                results.add(measured(bench, part, count, given.limit))
    finish(results.report(), given.json)


if __name__ == "__main__":
    main()
