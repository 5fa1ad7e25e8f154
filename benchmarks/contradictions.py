"""How often answers contradict what happened in their run, before and after the check, and good ones are lost.

An assistant is asked requests of worlds, and what its tools do is set beforehand: they work, they fail with an error of
a service, they find nothing, or the calls with effects are denied. What happened is known, so the worlds' own facts say
whether an answer is true: after a failure or a denial it may not state what only the call could have told, and has to
say that something did not happen; after calls that worked it has to state the facts of the request. `before` is the
first answer that the model wrote, `after` the answer of the run. The verdict skill is not asked about them.

    python benchmarks/contradictions.py --base qwen2.5-coder-1.5b --limit 200 --json contradictions.json
"""

from __future__ import annotations

import functools
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from report import BenchmarkReport, finish, options

from loraloop.adapters.skill.registry import library
from loraloop.adapters.training.scoring.score import rate
from loraloop.agent import Agent, Approve, Deny, Limits, Policy, Runtime
from loraloop.evals.desk.checks import judge
from loraloop.evals.desk.facts import normal, states
from loraloop.evals.desk.runner import answer_of
from loraloop.evals.desk.world import DeskRequest, World, load_worlds
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
NOT_DONE = re.compile(
    r"\b(?:not|no|never|none|nothing|cannot|\w+n't|unable|without|fail\w*|error|denied|declin\w+|refus\w+|reject\w+|unavailable|"
    r"empty|zero|0|nicht|nichts|kein\w*|abgelehnt|pas|aucune?|rien|non|nessun\w*|niet|niets|geen|nada|ningun\w*|sin|nao|nenhuma?|sem)\b"
)
"""What an answer says of something that did not happen or was not found, in seven languages, as `normal` writes it."""


def assistant(runtime: Runtime, world: World, state: str, seed: int) -> Agent[Any, Any]:
    """An assistant of a world whose tools end as the state says."""

    def ended(function: Any) -> Any:
        @functools.wraps(function)
        def called(**given: Any) -> Any:
            if state == "failed":
                raise ToolError(ERRORS[seed % len(ERRORS)])
            return [] if state == "empty" and function.__name__ not in world.changes else function(**given)

        return called

    tools = [Tool.from_function(ended(each), effects=each.__name__ in world.changes) for each in world.tools]
    answer = Deny() if state == "denied" else Approve()
    policy = Policy(approve=lambda call, context: answer)
    return Agent(runtime, tools, world.instructions, policy=policy, limits=Limits(deadline=120.0))


def contradicts(world: World, request: DeskRequest, state: str, text: str, result: Any) -> bool:
    """Whether an answer says something else than what happened."""
    denies, turn = NOT_DONE.search(normal(text)) is not None, request.turns[0]
    if state == "done":
        answer = answer_of(result)
        right = not judge(world, request, [type(answer)(text)])
        return not right and denies != (NOT_DONE.search(normal(turn.good)) is not None)
    asked = text.rstrip().endswith("?")
    told = [fact for fact in turn.says if not isinstance(fact, list) and not states(turn.say, fact)]
    return not asked and (not denies or (state != "denied" and any(states(text, fact) for fact in told)))


def one(runtime: Runtime, world: World, request: DeskRequest, state: str, seed: int) -> dict[str, Any] | None:
    """One run as a row; None where nothing that the state is about was called."""
    world.start(request)
    result = assistant(runtime, world, state, seed).run_sync(request.turns[0].say)
    statuses = {each.status for each in result.receipts}
    if {"failed": "failed", "denied": "denied", "empty": "empty", "done": "done"}[state] not in statuses:
        return None
    last = result.receipts[-1].status
    if last != state and not (state == "failed" and last == "unknown"):
        return None
    flawed = [step for step in result.steps if step.flaws]
    first = flawed[0].text if flawed else result.output
    judged = [contradicts(world, request, state, text, result) for text in (first, result.output)]
    kinds = [flaw.kind for step in flawed for flaw in step.flaws]
    row = {
        "world": world.name,
        "request": request.turns[0].say,
        "state": state,
        "first": first,
        "answer": result.output,
    }
    spent = [step.ms.get("gate", 0.0) for step in result.steps if step.outcome in ("text", "flawed")]
    return row | {"before": judged[0], "after": judged[1], "flaws": kinds, "verdict_ms": max(spent, default=0.0)}


def main() -> None:
    parser = options(__doc__.splitlines()[0], limit=200)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument(
        "--skill", action="append", default=[], help="folder of a further skill, such as a verdict skill"
    )
    given = parser.parse_args()
    base = open_base(given.base)
    runtime = Runtime.load(base, skills=[*library(base.name), *given.skill])
    worlds = [*load_worlds(ROOT / "recipes/desk"), *load_worlds(ROOT / "recipes/worlds", HELD_OUT)]
    rows: list[dict[str, Any]] = []
    for seed in range(given.limit * 3):
        world, state = worlds[seed % len(worlds)], ("denied", "failed", "done", "empty")[seed // len(worlds) % 4]
        asked = [r for r in world.requests if r.kind in KINDS and r.turns[0].calls and len(r.turns[0].say) < 400]
        if state == "denied":
            asked = [r for r in asked if any(call.name in world.changes for call in r.turns[0].calls)]
        row = one(runtime, world, asked[seed // len(worlds) // 4 % len(asked)], state, seed) if asked else None
        rows += [row] if row is not None else []
        if len(rows) == given.limit:
            break
    good = [row for row in rows if not row["before"]]
    lost = [row for row in good if row["flaws"] and row["answer"] != row["first"]]
    metrics: dict[str, Any] = {}
    for name, hits in (
        ("contradictions_before", [row["before"] for row in rows]),
        ("contradictions_after", [row["after"] for row in rows]),
        ("good_answers_replaced", [row in lost for row in good]),
    ):
        metrics[name], metrics[f"{name}_low"], metrics[f"{name}_high"] = rate(hits)
    times = sorted(row["verdict_ms"] for row in rows if row["verdict_ms"])
    if times:
        metrics |= {"verdict_p50_ms": times[len(times) // 2], "verdict_p95_ms": times[int(0.95 * (len(times) - 1))]}
    counts = {
        state: dict(Counter(f"{r['before']}→{r['after']}" for r in rows if r["state"] == state))
        for state in {r["state"] for r in rows}
    }
    shown = [row for row in rows if row["before"] or row["after"] or row in lost]
    finish(
        BenchmarkReport("contradictions", len(rows), metrics, details={"by_state": counts, "rows": shown}), given.json
    )


if __name__ == "__main__":
    main()
