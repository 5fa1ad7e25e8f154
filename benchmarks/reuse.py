"""How much of its prompts a run does not compute again: the desk's requests, counted in tokens.

    python benchmarks/reuse.py --limit 4 --json benchmarks/results/reuse.json

The embedded base answers `--limit` requests of each desk (`loraloop eval desk`) with its own router and skills; every
branch that a run opens is a prompt: the context that it stands on. `prompt` counts the tokens of all of them,
`computed` those that a forward computed as part of a prompt, `not_computed_share` is the rest, in percent.

Peers replay the same token sequences with the same skills, on paper: prefix caches of blocks of 16 tokens and without
a limit. `lora` keeps blocks by adapter, as vLLM and SGLang do: every token belongs to the adapter that read it. `alora`
shares the blocks of the bare base before the invocation; what an adapter wrote is read again. `alora, token by token`
is the same with blocks of one token: what nobody can do without.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import environment  # noqa: F401
from report import BenchmarkReport, finish, options

from loraloop.agent import Runtime
from loraloop.agent.engine.branch import Branch
from loraloop.agent.engine.cache.sequence import ComputeRequest
from loraloop.agent.engine.scheduler import Scheduler

BLOCK = 16


@dataclass(frozen=True, slots=True)
class Prompt:
    """A branch: the skill that wrote, its context's length, and the context with what was written after it."""

    skill: str
    start: int
    ids: tuple[int, ...]


@dataclass(slots=True)
class Replay:
    """A prefix cache on paper: which blocks are known, by adapter.

    Attributes:
        shares: Whether the blocks of a context are the bare base's, whichever adapter writes after it.
        block: Tokens of a block.
        computed: Tokens of prompts that were not known.
    """

    shares: bool
    block: int = BLOCK
    computed: int = 0
    _known: set[tuple[str, int]] = field(default_factory=set)

    def read(self, prompt: Prompt) -> None:
        """Reads a prompt, and what was written after it."""
        context = "" if self.shares else prompt.skill
        places = _blocks(prompt.ids, self.block)
        whole = prompt.start // self.block
        known = next((at for at in range(whole) if (context, places[at]) not in self._known), whole)
        self.computed += prompt.start - known * self.block
        for at, place in enumerate(places):
            self._known.add((context if at < whole else prompt.skill, place))


def _blocks(ids: Sequence[int], size: int) -> list[int]:
    """A hash for each whole block, of it and all before it."""
    found, before = list[int](), 0
    for at in range(0, len(ids) - size + 1, size):
        before = hash((before, *ids[at : at + size]))
        found.append(before)
    return found


@dataclass(slots=True)
class Counted:
    """What runs asked of the base.

    Attributes:
        prompts: Branches, in their order.
        computed: Tokens of prompts that forwards computed.
    """

    prompts: list[Prompt] = field(default_factory=list)
    computed: int = 0


@contextmanager
def counted() -> Iterator[Counted]:
    """While the block runs, branches and the computing of prompts are counted."""
    found, compute, close = Counted(), Scheduler.compute, Branch.close

    def computing(self: Scheduler, works: Sequence[ComputeRequest]) -> None:
        found.computed += sum(len(work.ids) for work in works if not work.logits)
        compute(self, works)

    def closing(self: Branch, *given: object, **named: object) -> None:
        if not self._closed:
            found.prompts.append(Prompt(self.author.skill, self.start, tuple(self.sequence.ids)))
        close(self, *given, **named)  # type: ignore[arg-type]

    Scheduler.compute, Branch.close = computing, closing  # type: ignore[method-assign]
    try:
        yield found
    finally:
        Scheduler.compute, Branch.close = compute, close  # type: ignore[method-assign]


def figures(computed: int, prompt: int) -> dict[str, float]:
    """Figures of one system."""
    return {"prompt": prompt, "computed": computed, "not_computed_share": 100 * (1 - computed / prompt)}


def main() -> None:
    from loraloop.evals.desk.runner import run
    from loraloop.evals.desk.world import SHIPPED, load_worlds

    parser = options(__doc__.splitlines()[0], limit=4)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--worlds", default="", help="names of desks, separated by commas; all where empty")
    given = parser.parse_args()
    names = [name for name in given.worlds.split(",") if name]
    runtime = Runtime.load(given.base)
    with counted() as found:
        rows = run(runtime, load_worlds(SHIPPED, names), limit=given.limit, step=_say)
    peers = {
        "lora, by adapter": Replay(shares=False),
        "alora, shared": Replay(shares=True),
        "alora, token by token": Replay(shares=True, block=1),
    }
    for prompt in found.prompts:
        for peer in peers.values():
            peer.read(prompt)
    total = sum(prompt.start for prompt in found.prompts)
    metrics = {"requests": len(rows), "branches": len(found.prompts), **figures(found.computed, total)}
    theirs = {name: figures(peer.computed, total) for name, peer in peers.items()}
    ratios = {f"{name}, computed": peer.computed / found.computed for name, peer in peers.items()}
    finish(BenchmarkReport("reuse", len(rows), metrics, theirs, ratios), given.json)


def _say(row: object) -> None:
    assert isinstance(row, dict)
    print(row["id"], f"{row['seconds']} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
