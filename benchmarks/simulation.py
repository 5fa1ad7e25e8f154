"""Ten thousand skills on a thousand machines: trunk and branch against prefix caches that are split by adapter.

    python benchmarks/simulation.py --json benchmarks/results/simulation.json

Nothing here is measured: it is a simulation (simpy) on the capacity model of `loraloop plan`. Conversations begin as a
Poisson process. Each is of one of `APPS` applications, drawn by Zipf's law as skills are, whose instructions and tools
(`--shared` tokens) begin all of its conversations, and which has `PALETTE` skills. In each of `STEPS` steps a skill
reads what is new (`NEW` tokens) and writes `WRITTEN` tokens; the next step comes `THINK` seconds later on average, and
with probability `--switch` it is of another skill of the application.

- `trunk`: the bare base reads the transcript, so what is cached serves every skill. What a step wrote under its skill
  is read once more, with what follows it.
- `split`: a cache belongs to the skill that read it, as in vLLM and SGLang. The next step on the same skill reads what
  is new; one on another skill reads all that this skill has not read on this machine.

A machine reads one prompt at a time and writes for `ROWS` steps at once, each token at the speed of a full batch. It
holds `SLOTS` skills on its card, as many in memory as `HOST` bytes take, all on disk, and the keys and values that the
rest of the card's memory takes; the least recently used of each go first, and machines begin with the most popular. A
step goes to the machine of its conversation (`by conversation`) or of its skill (`by skill`), by a hash; or, `by
popularity`, to one of the machines of its skill, which has `SPREAD` times its share of them and at least one, by a
hash of the conversation. Where `ROWS` steps are there already, it goes to the least busy of that machine and three
others. Counted are the steps that arrive in the second half of the time in which conversations begin. Machines do not
fail, prompts do not slow what is written meanwhile, and routing takes no time.
"""

from __future__ import annotations

import random
import sys
import zlib
from bisect import bisect
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

import environment  # noqa: F401
import simpy
from report import BenchmarkReport, finish, options, quantile

from loraloop.adapters.base.config import ModelConfig
from loraloop.scale.capacity import GPUS, USABLE, Capacity, Load

QWEN = ModelConfig(1536, 8960, 28, 12, 2, 128, 151_936, 32_768, architecture="qwen2", qkv_bias=True)
"""The dimensions of qwen2.5-coder-1.5b."""
STEPS, NEW, WRITTEN, THINK = 6, 60, 60, 1.0
APPS, PALETTE, ZIPF = 2000, 6, 1.0
ROWS, SLOTS, RANK, HOST = 16, 32, 16, 64 * 10**9
SWITCHES, LENGTHS = (0.0, 0.1, 0.5, 1.0), (0, 2000)
SPREAD = 2.0
SYSTEMS = (
    *(("trunk", "conversation"), ("split", "conversation"), ("split", "skill")),
    *(("trunk", "popularity"), ("split", "popularity")),
)


class Recent:
    """Values with sizes that sum up to `limit` at most; the least recently used go first."""

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0
        self._held: OrderedDict[Any, tuple[int, int]] = OrderedDict()

    def copy(self) -> Recent:
        """Another one that holds the same."""
        other = Recent(self.limit)
        other.used, other._held = self.used, self._held.copy()
        return other

    def get(self, key: Any) -> int:
        """The value of a key, which becomes the most recently used; 0 for none."""
        if key in self._held:
            self._held.move_to_end(key)
        return self._held.get(key, (0, 0))[1]

    def put(self, key: Any, size: int = 1, value: int = 1) -> None:
        """Holds a value, in place of the key's last one."""
        self.used += size - self._held.pop(key, (0, 0))[0]
        self._held[key] = size, value
        while self.used > self.limit:
            self.used -= self._held.popitem(last=False)[1][0]


class Machine:
    """One machine: its queues, and what it holds."""

    def __init__(self, world: simpy.Environment, capacity: Capacity) -> None:
        self.rows, self.reader = simpy.Resource(world, ROWS), simpy.Resource(world, 1)
        slot = capacity.slot_bytes(RANK)
        self.slots, self.memory = Recent(SLOTS), Recent(HOST // slot)
        free = USABLE * capacity.memory - capacity.weights - SLOTS * slot
        self.cached = Recent(int(free / capacity.token_bytes))

    @property
    def busy(self) -> int:
        """Steps that are here, at work or waiting."""
        return len(self.rows.users) + len(self.rows.queue)


class Step(NamedTuple):
    """One step: its conversation, its skill, the tokens of its transcript, and how many its application shares."""

    conversation: int
    app: int
    skill: int
    length: int
    shared: int


@dataclass
class Tally:
    """What happened to steps: seconds until the first token, tokens read and asked for, where skills were."""

    since: float = 0.0
    until: float = inf
    waits: list[float] = field(default_factory=list)
    read: int = 0
    asked: int = 0
    places: dict[str, int] = field(default_factory=lambda: {"slot": 0, "memory": 0, "file": 0})

    def figures(self) -> dict[str, float]:
        """Seconds until the first token, tokens read a step, and shares in percent."""
        steps = len(self.waits)
        found = {f"first token p{share}, s": quantile(self.waits, share / 100) for share in (50, 99)}
        found |= {"tokens read a step": self.read / steps, "of prompts cached, %": 100 * (1 - self.read / self.asked)}
        where = {"slot": "skill in a slot, %", "file": "skill on disk, %"}
        return found | {words: 100 * self.places[place] / steps for place, words in where.items()}


class Fleet:
    """Machines, and the steps that run on them."""

    def __init__(
        self, capacity: Capacity, count: int, system: str, placement: str, rng: random.Random, skills: int = 1
    ) -> None:
        self.world = simpy.Environment()
        self.capacity, self.system, self.placement, self.rng = capacity, system, placement, rng
        self.machines = [Machine(self.world, capacity) for _ in range(count)]
        self.tally = Tally()
        full = Load(ROWS, SLOTS, context=4096, shared=0, rank=RANK, slots=SLOTS)
        self.token, self.switch = capacity.token_seconds(full), capacity.switch_seconds(full)

        shares = [(1 + rank) ** -ZIPF for rank in range(skills)] if placement == "popularity" else []
        self.copies = [1 + int(SPREAD * count * share / sum(shares)) for share in shares]

    def home(self, skill: int, conversation: int) -> Machine:
        """The machine of a step."""
        what = conversation if self.placement == "conversation" else skill
        copy = f" {conversation % self.copies[skill]}" if self.copies else ""
        return self.machines[zlib.crc32(f"{self.placement} {what}{copy}".encode()) % len(self.machines)]

    def homes(self, skill: int) -> list[Machine]:
        """The machines of a skill, where skills have machines."""
        return [self.home(skill, copy) for copy in range(self.copies[skill] if self.copies else 1)]

    def warm(self, skills: int, apps: Sequence[Sequence[int]], shared: int) -> None:
        """Lets machines hold what is popular: skills, and in half of their room for tokens beginnings under them."""
        split, by_skill = self.system == "split", self.placement != "conversation"
        pairs = [
            (skill, (skill if split else None, "app", app))
            for app, used in enumerate(apps)
            for skill in (sorted(set(used)) if split or by_skill else (0,))
        ]
        first, room = self.machines[0], self.machines[0].cached.limit // max(2 * shared, 1)
        for skill in reversed(range(skills if by_skill else first.memory.limit)):
            for machine in self.homes(skill) if by_skill else (first,):
                machine.memory.put(skill)
                machine.slots.put(skill)
        for skill, pair in reversed((pairs if by_skill else pairs[:room]) if shared else []):
            for machine in self.homes(skill) if by_skill else (first,):
                machine.cached.put(pair, shared, shared)
        for machine in () if by_skill else self.machines[1:]:  # all are alike
            machine.memory, machine.slots, machine.cached = first.memory.copy(), first.slots.copy(), first.cached.copy()

    def unread(self, machine: Machine, step: Step) -> tuple[int, int]:
        """Tokens of a step's prompt that a machine must read, and those that it holds before them."""
        author = None if self.system == "trunk" else step.skill
        conversation, app = (author, "conversation", step.conversation), (author, "app", step.app)
        known = max(machine.cached.get(conversation), machine.cached.get(app))
        length = step.length + (0 if author is None else WRITTEN)
        machine.cached.put(conversation, length - step.shared, length)
        if step.shared:
            machine.cached.put(app, step.shared, step.shared)
        return step.length - known, known

    def run(self, step: Step) -> Iterator[simpy.Event]:
        """One step, from its arrival to its last token."""
        began = self.world.now
        machine = self.home(step.skill, step.conversation)
        if machine.busy >= ROWS:
            others = [self.rng.choice(self.machines) for _ in range(3)]
            machine = min((machine, *others), key=lambda each: each.busy)
        with machine.rows.request() as row:
            yield row
            tier = "slot" if machine.slots.get(step.skill) else "memory" if machine.memory.get(step.skill) else "file"
            machine.slots.put(step.skill)
            machine.memory.put(step.skill)
            yield self.world.timeout(self.switch[tier])
            with machine.reader.request() as reader:
                yield reader
                count, known = self.unread(machine, step)
                yield self.world.timeout(self.capacity.prompt_seconds(count, known))
            if self.tally.since <= began <= self.tally.until:
                self.tally.waits.append(self.world.now + self.token - began)
                self.tally.read, self.tally.asked = self.tally.read + count, self.tally.asked + step.length
                self.tally.places[tier] += 1
            yield self.world.timeout(WRITTEN * self.token)


@dataclass(frozen=True)
class Traffic:
    """Conversations, how many begin in a second, of how many skills, with what beginnings, and shares of switches."""

    conversations: int
    rate: float
    skills: int
    shared: int
    switch: float
    warm: bool = True

    def arrive(self, fleet: Fleet, rng: random.Random) -> Iterator[simpy.Event]:
        """Starts all conversations; the same ones for every system."""
        zipf = list(accumulate((1 + rank) ** -ZIPF for rank in range(self.skills)))
        apps = [[bisect(zipf, rng.random() * zipf[-1]) for _ in range(PALETTE)] for _ in range(APPS)]
        popular = list(accumulate((1 + rank) ** -ZIPF for rank in range(APPS)))
        if self.warm:
            fleet.warm(self.skills, apps, self.shared)
            fleet.tally.until = self.conversations / self.rate
            fleet.tally.since = fleet.tally.until / 2
        for number in range(self.conversations):
            yield fleet.world.timeout(rng.expovariate(self.rate))
            app = bisect(popular, rng.random() * popular[-1])
            fleet.world.process(self.talk(fleet, (number, app), apps[app], random.Random(rng.random())))

    def talk(self, fleet: Fleet, names: tuple[int, int], skills: list[int], rng: random.Random) -> Iterator[Any]:
        """One conversation."""
        skill, length = rng.choice(skills), self.shared
        for _ in range(STEPS):
            length += NEW
            yield fleet.world.process(fleet.run(Step(*names, skill, length, self.shared)))
            length += WRITTEN
            if rng.random() < self.switch:
                skill = rng.choice([other for other in skills if other != skill] or skills)
            yield fleet.world.timeout(rng.expovariate(1 / THINK))


def simulate(capacity: Capacity, machines: int, system: tuple[str, str], traffic: Traffic, seed: int) -> Tally:
    """What happens to the steps of one system under some traffic."""
    fleet = Fleet(capacity, machines, *system, random.Random(seed), traffic.skills)
    fleet.world.process(traffic.arrive(fleet, random.Random(seed)))
    fleet.world.run()
    return fleet.tally


def main() -> None:
    parser = options(__doc__.splitlines()[0], limit=12_000)
    parser.add_argument("--machines", type=int, default=1000)
    parser.add_argument("--skills", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=0.5, help="conversations that begin in a second, on each machine")
    parser.add_argument("--gpu", default="l4", choices=GPUS)
    parser.add_argument("--switch", type=float, nargs="+", default=SWITCHES, help="shares of steps on another skill")
    parser.add_argument("--shared", type=int, nargs="+", default=LENGTHS, help="tokens of instructions and tools")
    given = parser.parse_args()
    capacity = Capacity.of_gpu("qwen2.5-coder-1.5b", QWEN, given.gpu)
    figures: dict[str, float] = {}
    for shared in given.shared:
        for switch in given.switch:
            traffic = Traffic(given.limit, given.rate * given.machines, given.skills, shared, switch)
            for system in SYSTEMS:
                found = simulate(capacity, given.machines, system, traffic, given.seed).figures()
                row = f"{shared} shared, {100 * switch:g} % switch"
                figures |= {f"{row}, {name}/{system[0]}, by {system[1]}": value for name, value in found.items()}
                print(row, system, found, file=sys.stderr, flush=True)
    finish(BenchmarkReport("simulation", given.limit, figures), given.json)


if __name__ == "__main__":
    main()
