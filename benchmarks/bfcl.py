"""The Berkeley Function-Calling Leaderboard with its own data, environments and checkers (PyPI `bfcl-eval`).

    python benchmarks/bfcl.py --bfcl-python PYTHON --base qwen2.5-coder-1.5b --limit 30 --json FILE
    python benchmarks/bfcl.py --bfcl-python PYTHON --base qwen2.5-coder-1.5b --turns --limit 50 --json FILE

PYTHON is an interpreter with `bfcl-eval`, which has many dependencies of its own, and `soundfile`, which it lacks.
Non-live entries are one step of the tools skill, and of the bare base under the same grammar. Those with turns
(`--turns`) are runs of a whole agent, whose tools act on the leaderboard's environments. `--limit` entries of each
category are drawn by `--seed`. As on the leaderboard, *AST* is the mean over simple (the mean of its three languages),
multiple, parallel and both.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from report import BenchmarkReport, options
from worker_process import WorkerProcess

from loraloop import Agent, Approve, Limits, Message, Policy, Runtime, Tool
from loraloop.adapters.base import Base
from loraloop.adapters.training.data.example import transcript
from loraloop.adapters.training.scoring.score import calls_of, rate
from loraloop.evals.bench import Bench
from loraloop.evals.skills import skill_of
from loraloop.tool_schemas import calls_schema
from loraloop.tool_schemas.grammar.grammar import JsonSchema

SIMPLE = ("simple_python", "simple_java", "simple_javascript")
SEVERAL = ("multiple", "parallel", "parallel_multiple")
STEPS = 20
"""The leaderboard's bound of a turn."""


class Leaderboard(WorkerProcess):
    """`bfcl_worker` in its own interpreter."""

    def __init__(self, python: str) -> None:
        super().__init__("bfcl-eval", python, Path(__file__).with_name("bfcl_worker.py"))

    def entries(self, category: str, limit: int | None, seed: int) -> list[dict[str, Any]]:
        """Entries of a category: id, the messages of each turn, and the tools."""
        found: list[dict[str, Any]] = self.ask("entries", category=category, limit=limit, seed=seed)["is"]
        return found


def steps(base: Base, board: Leaderboard, limit: int | None, seed: int) -> BenchmarkReport:
    """The non-live entries: one step of the skill and of the bare base each."""
    bench = Bench(base, skill_of(base, "tools", None), 384)
    hits: dict[str, dict[str, list[bool]]] = {"loraloop": {}, "base": {}}
    spent: dict[str, list[float]] = {"loraloop": [], "base": []}
    wrong: list[dict[str, Any]] = []
    for category in (*SIMPLE, *SEVERAL, "irrelevance"):
        for entry in board.entries(category, limit, seed):
            tools = [Tool.from_schema(tool, on_unsupported="check") for tool in entry["tools"]]
            shown = [{"name": t.name, "description": t.description, "parameters": t.parameters} for t in tools]
            turns = [Message(message["role"], message["content"]) for message in entry["turns"][0]]
            messages = transcript(turns, "", shown, base.prompting.tools_header)
            term = JsonSchema(calls_schema(tools), on_unsupported="check")
            bench.read(messages)
            for system, skilled in (("loraloop", True), ("base", False)):
                step = bench.write(messages, term, skilled)
                found = board.ask("judge", id=entry["id"], category=category, calls=calls_of(step.text) or [])["is"]
                hits[system].setdefault(category, []).append(found["right"])
                spent[system].append(step.ms)
                if skilled and not found["right"]:
                    wrong.append({"id": entry["id"], "wrote": step.text})
                if skilled:
                    print(f"{entry['id']}: {found.get('why') or found['right']}", file=sys.stderr, flush=True)
    scores = {system: _scores(found) for system, found in hits.items()}
    for system, ms in spent.items():
        scores[system]["step_ms"] = median(ms)
    return BenchmarkReport(
        name="bfcl",
        n=sum(map(len, hits["loraloop"].values())),
        metrics=scores["loraloop"],
        peers={"base": scores["base"]},
        details={"base": base.name, "wrong": wrong},
    )


def _scores(hits: dict[str, list[bool]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for category, several in hits.items():
        found[category], found[f"{category}_low"], found[f"{category}_high"] = rate(several)
        found[f"{category}_n"] = len(several)
    found["ast"] = mean([mean(found[name] for name in SIMPLE), *(found[name] for name in SEVERAL)])
    return found


def conversations(runtime: Runtime, board: Leaderboard, limit: int | None, seed: int) -> Iterator[BenchmarkReport]:
    """The entries of several turns: runs of an agent that approves everything. Yields the report so far after each."""
    hits, wrong = [], []
    for entry in board.entries("multi_turn_base", limit, seed):
        called: list[list[list[dict[str, Any]]]] = []

        def does(name: str, entry: dict[str, Any] = entry, called: list[Any] = called) -> Callable[..., Any]:
            def function(**arguments: Any) -> Any:
                call = {"name": name, "arguments": arguments}
                called[-1].append([call])
                return board.ask("execute", id=entry["id"], call=call)["is"]

            return function

        tools = [
            Tool.from_schema(tool, does(tool["function"]["name"]), on_unsupported="check") for tool in entry["tools"]
        ]
        agent = Agent(
            runtime, tools, policy=Policy(approve=lambda call, context: Approve()), limits=Limits(max_steps=STEPS)
        )
        earlier: Any = ()
        for turn in entry["turns"]:
            called.append([])
            result = agent.run_sync("\n".join(message["content"] for message in turn), messages=earlier)
            earlier = result.messages
        found = board.ask("finish", id=entry["id"], turns=called)["is"]
        hits.append(found["right"])
        if not found["right"]:
            wrong.append({"id": entry["id"], "called": called})
        print(f"{entry['id']}: {found['why'] or found['right']}", file=sys.stderr, flush=True)
        share, low, high = rate(hits)
        scores = {"multi_turn": share, "multi_turn_low": low, "multi_turn_high": high, "multi_turn_n": len(hits)}
        details = {"base": runtime.base.name, "wrong": wrong}
        yield BenchmarkReport(name="bfcl_turns", n=len(hits), metrics=scores, details=details)


def main() -> None:
    """Measures the entries that the command line asks for."""
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--bfcl-python", required=True, metavar="PYTHON", help="interpreter with bfcl-eval")
    parser.add_argument("--turns", action="store_true", help="the entries of several turns (multi_turn_base)")
    given = parser.parse_args()
    with closing(Leaderboard(given.bfcl_python)) as board:
        if given.turns:
            found = conversations(Runtime.load(given.base), board, given.limit, given.seed)
        else:
            found = iter([steps(Base.load(given.base), board, given.limit, given.seed)])
        for report in found:
            if given.json:  # a run of hours keeps what it has
                report = replace(report, name=given.json.stem)
                report.write(given.json)
    report.show()


if __name__ == "__main__":
    main()
