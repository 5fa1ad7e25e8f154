"""How often answers contradict what happened in their run or repeat an earlier one, and good ones are lost.

An assistant is asked four requests of a world in one conversation, and what its tools do in each turn is set
beforehand: they work, they fail with an error of a service, they find nothing, or the calls with effects are denied.
What happened is known, so the worlds' own facts say whether an answer is true: after a failure or a denial it may not
state what only the call could have told, and has to say that something did not happen; after calls that worked it has
to state the facts of the request, unless a tool itself returned an error. An answer of nothing but questions
contradicts nothing. `before` is the first answer that the model wrote, `after` the answer of the run. The verdict skill
is not asked about them. An answer repeats where it holds a sentence of an earlier answer of its conversation, word for
word.

    python benchmarks/contradictions.py --base qwen2.5-coder-1.5b --limit 60 --json contradictions.json
"""

from __future__ import annotations

import functools
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from report import BenchmarkReport, finish, options

from loraloop.adapters.skill.registry import library
from loraloop.adapters.training.scoring.score import rate
from loraloop.agent import Agent, Approve, Deny, Limits, Policy, Runtime
from loraloop.evals.desk.checks import judge
from loraloop.evals.desk.facts import normal, states
from loraloop.evals.desk.request import DeskRequest
from loraloop.evals.desk.runner import answer_of
from loraloop.evals.desk.world import World, load_worlds
from loraloop.inputs.loading import open_base
from loraloop.tool_schemas import Tool
from loraloop.tool_schemas.errors import ToolError

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("single", "indirect", "two_step", "parallel", "follow_up")
HELD_OUT = ("cloud", "meters", "school_it")
"""Training worlds that no skill learns from; the other fields are the desks of `recipes/desk`."""
ERRORS = (
    "HTTP 503 Service Unavailable",
    "HTTP 404 Not Found",
    "timed out after 10 s",
    "HTTP 500 Internal Server Error",
)
STATES = ("denied", "failed", "done", "empty")
NOT_DONE_STATUSES = ("denied", "failed", "unknown")
"""Receipts of calls that did not do what was asked, by a tool's own error too, whatever the turn's state is."""
SENTENCE = re.compile(r"(?<=[.!?])\s+")
LEAST_WORDS = 4
"""Words of the shortest sentence that counts as repeated."""
NOT_DONE = re.compile(
    r"\b(?:not|no|never|none|nothing|nobody|cannot|\w+n't|unable|without|fail\w*|error|denied|declin\w+|refus\w+|reject\w+|unavailable|"
    r"empty|zero|0|nicht|nichts|niemand|kein\w*|abgelehnt|pas|aucune?|rien|non|nessun\w*|niet|niets|geen|nada|nadie|ningun\w*|sin|nao|nenhuma?|sem)\b"
)
"""What an answer says of something that did not happen or was not found, in seven languages, as `normal` writes it."""


@dataclass
class Turn:
    """How the tools end while one message is answered."""

    state: str
    seed: int


def assistant(runtime: Runtime, world: World, turn: Turn) -> Agent[Any, Any]:
    """An assistant of a world whose tools end as the turn says."""

    def ended(function: Any) -> Any:
        @functools.wraps(function)
        def called(**given: Any) -> Any:
            if turn.state == "failed":
                raise ToolError(ERRORS[turn.seed % len(ERRORS)])
            return [] if turn.state == "empty" and function.__name__ not in world.changes else function(**given)

        return called

    tools = [Tool.from_function(ended(each), effects=each.__name__ in world.changes) for each in world.tools]
    policy = Policy(approve=lambda call, context: Deny() if turn.state == "denied" else Approve())
    return Agent(runtime, tools, world.instructions, policy=policy, limits=Limits(deadline=120.0))


def contradicts(world: World, request: DeskRequest, state: str, text: str, result: Any) -> bool:
    """Whether an answer says something else than what happened."""
    denies, turn = NOT_DONE.search(normal(text)) is not None, request.turns[0]
    asked = all(sentence.endswith("?") for sentence in SENTENCE.split(text.strip()))
    if state == "done":
        answer = answer_of(result)
        right = not judge(world, request, [type(answer)(text)])
        failed = [receipt.status in NOT_DONE_STATUSES for receipt in result.receipts]
        expected = failed[-1:] == [True] or NOT_DONE.search(normal(turn.good)) is not None
        return not (right or asked or denies == expected or (denies and any(failed)))
    told = [fact for fact in turn.says if not isinstance(fact, list) and not states(turn.say, fact)]
    return not asked and (not denies or (state != "denied" and any(states(text, fact) for fact in told)))


def repeats(text: str, earlier: Sequence[str]) -> bool:
    """Whether an answer holds a sentence of an earlier answer, word for word."""
    sentences = {part.strip().lower() for part in SENTENCE.split(text) if len(part.split()) >= LEAST_WORDS}
    return any(part.strip().lower() in sentences for each in earlier for part in SENTENCE.split(each))


def conversation(runtime: Runtime, world: World, requests: Sequence[DeskRequest], number: int) -> list[dict[str, Any]]:
    """A row for each turn; those in which nothing was called that the turn's state is about are not judged."""
    world.start(requests[0])
    turn = Turn("done", number)
    agent, messages, earlier = assistant(runtime, world, turn), (), list[str]()
    rows: list[dict[str, Any]] = []
    for place, request in enumerate(requests):
        turn.state, turn.seed = STATES[(number + place) % len(STATES)], number + place
        world.calls, world.turn = [], 0
        result = agent.run_sync(request.turns[0].say, messages=messages)
        messages = result.messages
        flawed = [step for step in result.steps if step.flaws]
        first = flawed[0].text if flawed else result.output
        row = {"world": world.name, "turn": place + 1, "request": request.turns[0].say, "state": turn.state}
        row |= {"first": first, "answer": result.output, "repeats": repeats(result.output, earlier)}
        row["records"] = [receipt.text for receipt in result.receipts]
        earlier.append(result.output)
        last = result.receipts[-1].status if result.receipts else ""
        row["judged"] = last == turn.state or (turn.state in ("done", "failed") and last in NOT_DONE_STATUSES[1:])
        if row["judged"]:
            before, after = (contradicts(world, request, turn.state, text, result) for text in (first, result.output))
            row |= {"before": before, "after": after, "flaws": [flaw.kind for step in flawed for flaw in step.flaws]}
        spent = [step.ms.get("gate", 0.0) for step in result.steps if step.outcome in ("text", "flawed")]
        rows.append(row | {"verdict_ms": max(spent, default=0.0)})
    return rows


def picked(world: World, asked: Sequence[DeskRequest], turns: int, number: int) -> list[DeskRequest]:
    """The requests of a conversation; where calls will be denied, one that needs a call with effects."""
    acting = [request for request in asked if any(call.name in world.changes for call in request.turns[0].calls)]
    denied = [STATES[(number + place) % len(STATES)] == "denied" for place in range(turns)]
    kinds = [acting if each and acting else asked for each in denied]
    return [kind[(number * turns + place) % len(kind)] for place, kind in enumerate(kinds)]


def share(name: str, hits: Sequence[bool]) -> dict[str, float]:
    """The share of hits as a metric, with its 95 % interval."""
    middle, low, high = rate(hits)
    return {name: middle, f"{name}_low": low, f"{name}_high": high, f"{name}_n": len(hits)}


def main() -> None:
    parser = options(__doc__.splitlines()[0], limit=60)
    parser.add_argument("--turns", type=int, default=4, help="Turns of a conversation.")
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument(
        "--skill", action="append", default=[], help="folder of a further skill, such as a verdict skill"
    )
    given = parser.parse_args()
    base = open_base(given.base)
    runtime = Runtime.load(base, skills=[*library(base.name), *given.skill])
    worlds = [*load_worlds(ROOT / "recipes/desk"), *load_worlds(ROOT / "recipes/worlds", HELD_OUT)]
    rows: list[dict[str, Any]] = []
    for number in range(given.limit):
        world = worlds[number % len(worlds)]
        asked = [r for r in world.requests if r.kind in KINDS and r.turns[0].calls and len(r.turns[0].say) < 400]
        rows += conversation(runtime, world, picked(world, asked, given.turns, number), number)
        print(f"{number + 1} of {given.limit} conversations", file=sys.stderr, flush=True)
    judged = [row for row in rows if row["judged"]]
    later = [row for row in judged if row["turn"] > 1]
    good = [row for row in judged if not row["before"]]
    lost = [row for row in good if row["flaws"] and row["answer"] != row["first"]]
    metrics: dict[str, Any] = {
        **share("contradictions_before", [row["before"] for row in judged]),
        **share("contradictions_after", [row["after"] for row in judged]),
        **share("contradictions_in_later_turns", [row["after"] for row in later]),
        **share("repeats_in_later_turns", [row["repeats"] for row in rows if row["turn"] > 1]),
        **share("good_answers_replaced", [row in lost for row in good]),
    }
    times = sorted(row["verdict_ms"] for row in rows if row["verdict_ms"])
    if times:
        metrics |= {"verdict_p50_ms": times[len(times) // 2], "verdict_p95_ms": times[int(0.95 * (len(times) - 1))]}
    counts = {
        state: dict(Counter(f"{r['before']}→{r['after']}" for r in judged if r["state"] == state)) for state in STATES
    }
    shown = [row for row in rows if row.get("before") or row.get("after") or row["repeats"] or row in lost]
    finish(
        BenchmarkReport("contradictions", len(rows), metrics, details={"by_state": counts, "rows": shown}), given.json
    )


if __name__ == "__main__":
    main()
