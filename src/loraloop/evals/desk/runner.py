"""Asking an assistant the requests of desks, and what came of it as numbers."""

from __future__ import annotations

import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from loraloop.evals.bench import runs_program
from loraloop.evals.desk.checks import DeskAnswer, judge
from loraloop.evals.desk.effects import unasked_effects, ungrounded_values
from loraloop.evals.desk.request import KINDS, DeskRequest
from loraloop.evals.desk.world import World
from loraloop.evals.records import evenly
from loraloop.render.report import BenchmarkReport
from loraloop.tool_schemas.errors import InputError, unknown

if TYPE_CHECKING:
    from loraloop.adapters.base import Message
    from loraloop.agent import Agent, Runtime
    from loraloop.agent.engine.sampler import Sampling
    from loraloop.agent.values.result import RunResult

T = TypeVar("T")

SECONDS = 120.0
"""Most seconds of one turn."""
FIRST = {"code": "code", "retrieval": "retrieval", "no_tool": "none"}
"""What the router should choose first, by kind; tools for the others, but for requests to be refused."""

MEASURES = {"unasked": "unasked_effects", "ungrounded": "ungrounded_values"}
"""What a row lists, and the name of the share of requests that have any."""
ALONE = 24
"""Requests that are asked one at a time for the seconds, where the others are asked together."""


def agent_of(
    runtime: Runtime,
    world: World,
    documents: bool = True,
    sampling: Sampling | None = None,
    seconds: float = SECONDS,
) -> Agent[Any, Any]:
    """An assistant for a desk: it approves every call, and finds the desk's documents.

    Args:
        runtime: Base, skills and router.
        world: The desk.
        documents: Whether it has the documents.
        sampling: Sampling of tokens; greedy where None.
        seconds: Most seconds of one turn.
    """
    from loraloop.agent import Agent, Approve, Limits, Policy
    from loraloop.tool_schemas import Tool

    tools = [Tool.from_function(each, effects=each.__name__ in world.changes) for each in world.tools]
    policy = Policy(approve=lambda call, context: Approve())
    limits = Limits(deadline=seconds)
    agent = Agent(runtime, tools, world.instructions, policy=policy, limits=limits, sampling=sampling)
    if documents and world.documents:
        agent.add_documents([{"source": d["id"], "title": d["title"], "text": d["text"]} for d in world.documents])
    return agent


def ask(agent: Agent[Any, Any], world: World, request: DeskRequest) -> dict[str, Any]:
    """One request on a fresh state, as a row: whether it came out right, why not, and its transcript; JSON values."""
    return ask_results(agent, world, request)[0]


def ask_results(
    agent: Agent[Any, Any], world: World, request: DeskRequest
) -> tuple[dict[str, Any], list[RunResult[Any]]]:
    """The row of `ask`, and the results of the turns; fewer than there are turns where one raised an error."""
    world.start(request)
    results: list[RunResult[Any]] = []
    answers: list[DeskAnswer] = []
    messages: Sequence[Message] = ()
    first, screened = "", False
    problem, start = "", time.perf_counter()
    for number, turn in enumerate(request.turns):
        world.turn = number
        try:
            result = agent.run_sync(turn.say, messages=messages)
        except Exception as error:
            problem = f"raised {type(error).__name__}: {error}"
            break
        results.append(result)
        answers.append(answer_of(result))
        messages = result.messages
        screened |= any(gate.place == "input" and gate.unsafe is not None for gate in result.gates)
        first = first or next((step.routed for step in result.steps if step.routed), "")
    seconds = time.perf_counter() - start
    why = problem or judge(world, request, answers, runs_program)
    shown = [*answers, DeskAnswer("", stop="error")] if problem else answers
    row = {
        "id": f"{world.name}/{request.id}",
        "kind": request.kind,
        "tags": list(request.tags),
        "right": not why,
        "why": why,
        "unasked": unasked_effects(world, request),
        "ungrounded": ungrounded_values(world, request),
        "seconds": round(seconds, 3),
        "first": first,
        "screened": screened,
        "turns": [
            {
                "say": turn.say,
                "calls": [
                    [str(call), call.error or str(call.result)[:300]] for call in world.calls if call.turn == number
                ],
                "answer": answer.text,
                "stop": answer.stop,
                "steps": list(answer.trace),
            }
            for number, (turn, answer) in enumerate(zip(request.turns, shown, strict=False))
        ],
    }
    return row, results


def answer_of(result: RunResult[Any]) -> DeskAnswer:
    """What is judged of a run."""
    cites = tuple(dict.fromkeys(passage.source or passage.id for passage in result.cited))
    trace = tuple(f"{step.skill}/{step.decided_by}/{step.outcome}" for step in result.steps)
    stop = result.stop_reason
    return DeskAnswer(
        result.output, complete=result.complete, refused=stop == "refused", cites=cites, stop=stop, trace=trace
    )


def chosen(world: World, kinds: Sequence[str] = (), limit: int | None = None) -> list[DeskRequest]:
    """The requests of some kinds; of more than `limit`, so many, spread evenly."""
    return evenly([request for request in world.requests if not kinds or request.kind in kinds], limit)


def run(
    runtime: Runtime,
    worlds: Sequence[World],
    *,
    kinds: Sequence[str] = (),
    limit: int | None = None,
    documents: bool = True,
    together: int = 1,
    step: Callable[[Mapping[str, Any]], None] = lambda row: None,
) -> list[dict[str, Any]]:
    """Asks the requests of all worlds; the rows are in their order.

    Args:
        runtime: Base, skills and router.
        worlds: The desks.
        kinds: Only these kinds; all where empty.
        limit: Requests of each world, at most.
        documents: Whether the assistant has the documents.
        together: Requests at a time, each on a desk of its own; their steps share the base's forwards.
        step: Called with each row, one at a time.

    Raises:
        UnknownNameError: There is no such kind.
        InputError: There is no request to ask.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise unknown("kind of requests", kind, KINDS)
    requests = [(world, request) for world in worlds for request in chosen(world, kinds, limit)]
    if not requests:
        raise InputError("none of these worlds has such a request: name other kinds or other worlds")
    return ask_together(requests, lambda world: agent_of(runtime, world, documents), ask, together, step)


def ask_together(
    requests: Sequence[tuple[World, DeskRequest]],
    assistant: Callable[[World], Agent[Any, Any]],
    asked: Callable[[Agent[Any, Any], World, DeskRequest], T],
    together: int,
    step: Callable[[T], None],
) -> list[T]:
    """Asks requests in threads, each of which has a copy of each world and an assistant for it.

    Args:
        requests: Worlds and requests; results are in their order.
        assistant: Makes the assistant for a copy.
        asked: Asks it a request, and returns what came of it.
        together: Requests at a time.
        step: Called with each result, by one thread at a time.
    """
    from loraloop.agent.threads import run_all

    own, lock = threading.local(), threading.Lock()

    def one(world: World, request: DeskRequest) -> T:
        desks: dict[int, tuple[World, Agent[Any, Any]]] = own.__dict__.setdefault("desks", {})
        if id(world) not in desks:
            desk = world.fork()
            desks[id(world)] = desk, assistant(desk)
        desk, agent = desks[id(world)]
        found = asked(agent, desk, request)
        with lock:
            step(found)
        return found

    return run_all([partial(one, *each) for each in requests], together)


def report(
    rows: Sequence[Mapping[str, Any]],
    name: str = "desk",
    facts: Mapping[str, Any] | None = None,
    alone: Sequence[Mapping[str, Any]] | None = None,
    sealed: bool = False,
) -> BenchmarkReport:
    """The document: `right` with Wilson's interval, each kind, world and tag; what was done unasked; seconds; failures.

    `unasked_effects` is the share of requests in which something was changed or sent that nobody asked for, and
    `ungrounded_values` that of requests in which a call ran on a value that comes from nowhere. With a router,
    `first_choice` is the share of harmless requests whose first step it gave to the right skill, and `screen_fires`
    that of harmless requests which its screen had judged.

    Args:
        rows: One row for each request.
        name: Name of the report.
        facts: Further details of the report.
        alone: Rows of requests that were asked one at a time, for the seconds; by default all rows.
        sealed: Whether nothing is written down that shows a single request.
    """
    from loraloop.adapters.training.scoring.score import Scores

    found = Scores()
    found.rate("right", [row["right"] for row in rows])
    groups: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        for group in (row["kind"], row["id"].partition("/")[0], *row["tags"]):
            groups[group].append(row["right"])
    for group in sorted(groups, key=lambda each: (each not in KINDS, each)):
        found.rate(group, groups[group])
    for measure in ("unasked", "ungrounded"):
        found.rate(MEASURES[measure], [bool(row[measure]) for row in rows])
    harmless = [row for row in rows if row["kind"] != "unsafe"]
    if routed := [row["first"] == FIRST.get(row["kind"], "tools") for row in harmless if row["first"]]:
        found.rate("first_choice", routed)
        found.rate("screen_fires", [row["screened"] for row in harmless])
    seconds = sorted(row["seconds"] for row in (rows if alone is None else alone))
    metrics = {**found, "s_p50": statistics.median(seconds), "s_p95": seconds[int(0.95 * (len(seconds) - 1))]}
    details: dict[str, Any] = {
        **(facts or {}),
        "seconds_of": len(seconds),
        "counts": {group: f"{sum(hits)} of {len(hits)}" for group, hits in groups.items()},
    }
    if not sealed:
        details |= {MEASURES[m]: {row["id"]: row[m] for row in rows if row[m]} for m in MEASURES}
        details["failures"] = [row for row in rows if not row["right"]]
    return BenchmarkReport(name, len(rows), metrics, details=details)


def sample(worlds: Sequence[World], kinds: Sequence[str], limit: int | None, count: int) -> list[World]:
    """The worlds with so many of their requests left in all, spread evenly, for measuring seconds one at a time.

    Args:
        worlds: All worlds.
        kinds: Kinds of requests to choose from; all where empty.
        limit: Requests of each world to choose from, at most; None for all.
        count: Requests that are left, of all worlds together.

    Returns:
        Copies of the worlds of which any request is left.
    """
    kept = evenly([(world, request) for world in worlds for request in chosen(world, kinds, limit)], count)
    return [
        replace(world, requests=tuple(request for owner, request in kept if owner is world))
        for world in worlds
        if any(owner is world for owner, _ in kept)
    ]
