"""Asking an assistant many requests of worlds at once; the runs share the base's forwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from loraloop.evals.desk.request import DeskRequest
from loraloop.evals.desk.runner import agent_of, ask_results
from loraloop.evals.desk.world import World
from loraloop.improve.states import State, states_of

if TYPE_CHECKING:
    from loraloop.agent import Agent, Runtime
    from loraloop.agent.engine.sampler import Sampling

TOGETHER = 8
"""Runs at a time."""
SECONDS = 900.0
"""Most seconds of one turn: those of a batch wait for one another."""

RequestInWorld = tuple[World, DeskRequest]


@dataclass(frozen=True, slots=True)
class WorldRun:
    """The run of a request in a world.

    Attributes:
        row: See `evals.desk.runner.ask`: whether it is right, why not, and its transcript.
        states: The states that it reached, with what is right there.
    """

    row: dict[str, Any]
    states: tuple[State, ...] = field(default=(), repr=False)

    @property
    def right(self) -> bool:
        return bool(self.row["right"])


def requests_of(worlds: Sequence[World], count: int, seed: int, held_out: bool = False) -> list[RequestInWorld]:
    """So many requests of all worlds, each world's in turn; fewer where the worlds have no more.

    Args:
        worlds: Worlds with slots.
        count: Number of requests over all worlds.
        seed: Seed of the draws.
        held_out: Whether the requests are those of the held-out side.
    """
    each = -(-count // max(1, len(worlds)))
    drawn = [[(world, request) for request in world.draw(each, seed, held_out)] for world in worlds]
    mixed = [row for place in range(each) for listed in drawn for row in listed[place : place + 1]]
    return mixed[:count]


def ask_all(
    runtime: Runtime,
    requests: Sequence[RequestInWorld],
    *,
    sampling: Sampling | None = None,
    documents: bool = True,
    together: int = TOGETHER,
    each: Callable[[WorldRun], None] = lambda run: None,
) -> list[WorldRun]:
    """Asks requests, each on a fresh state of its world; results are in their order.

    Args:
        runtime: Base, skills and router.
        requests: Worlds and requests.
        sampling: Sampling of tokens; greedy where None.
        documents: Whether the assistant has the worlds' documents.
        together: Runs at a time.
        each: Called with each run that ended, by one thread at a time.
    """
    from loraloop.agent.skills.threads import run_all

    own, lock = threading.local(), threading.Lock()

    def assistant(world: World) -> tuple[World, Agent[Any, Any]]:
        """This thread's copy of a world, and an assistant for it."""
        known: dict[int, tuple[World, Agent[Any, Any]]] = own.__dict__.setdefault("known", {})
        if id(world) not in known:
            copy = world.fork()
            made = agent_of(runtime, copy, documents, sampling=sampling, seconds=SECONDS)
            known[id(world)] = copy, made
        return known[id(world)]

    def one(world: World, request: DeskRequest) -> WorldRun:
        copy, agent = assistant(world)
        row, results = ask_results(agent, copy, request)
        shown = [{"name": t.name, "description": t.description, "parameters": t.parameters} for t in agent.tools]
        found = states_of(copy, request, results, shown, contract_of=runtime.contract, right=row["right"])
        run = WorldRun(row, tuple(found))
        with lock:
            each(run)
        return run

    return run_all([partial(one, *asked) for asked in requests], together)
