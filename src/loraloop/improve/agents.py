"""Asking an assistant many requests of worlds at once; the runs share the base's forwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from loraloop.evals.desk.request import DeskRequest
from loraloop.evals.desk.runner import agent_of, ask_results, ask_together
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

    def asked(agent: Agent[Any, Any], world: World, request: DeskRequest) -> WorldRun:
        row, results = ask_results(agent, world, request)
        shown = [{"name": t.name, "description": t.description, "parameters": t.parameters} for t in agent.tools]
        found = states_of(world, request, results, shown, contract_of=runtime.contract, right=row["right"])
        return WorldRun(row, tuple(found))

    assistant = partial(agent_of, runtime, documents=documents, sampling=sampling, seconds=SECONDS)
    return ask_together(requests, assistant, asked, together, each)
