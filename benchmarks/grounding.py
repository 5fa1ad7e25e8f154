"""How often the check of argument values refuses calls that are right, and catches values that are not.

Reads steps of the frozen training data, where every value of a call is given, and counts the calls that would be
refused. Then each value that is checked is replaced by one of the same kind from another step, one at a time, and the
replaced values that are found are counted. All tools count as tools with effects; `identifiers` is what is refused for
tools without.

    python benchmarks/grounding.py --limit 1000 --json benchmarks/results/grounding.json
"""

from __future__ import annotations

import copy
import random
import sys
from collections import Counter, defaultdict
from pathlib import Path
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from report import BenchmarkReport, finish, options

from loraloop.adapters.base.messages import Message
from loraloop.adapters.training.data.frozen import frozen_rows
from loraloop.agent.grounding.grounding import Grounding, leaves_of, sources_of
from loraloop.agent.grounding.value_kinds import IDENTIFIERS, kind_of
from loraloop.tool_schemas.schema.normal import normalised
from loraloop.tool_schemas.schema.places import json_path
from loraloop.tool_schemas.tools.calls import Call
from loraloop.tool_schemas.tools.tool import Tool

NAMES = ("desks", "tools")


def replaced(arguments: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """The arguments with another value at a place."""
    made = copy.deepcopy(arguments)
    inner: Any = made
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return made


def measure(name: str, most: int | None, seed: int) -> dict[str, float]:
    """Figures of one file of the frozen data."""
    rng = random.Random(seed)
    rows = [row for _, row in frozen_rows(name) if isinstance(row.get("calls"), list) and row["calls"]]
    rng.shuffle(rows)
    refused, values = Counter[str](), []
    pools: dict[str, list[Any]] = defaultdict(list)
    calls, seconds = 0, 0.0
    for row in rows[:most]:
        messages = [Message(each["role"], each["content"]) for each in row["messages"]]
        system = "\n".join(each.content for each in messages if each.role == "system")
        tools = {each["name"]: Tool.from_schema(each, on_unsupported="check") for each in row["tools"]}
        begun = perf_counter()
        grounding = Grounding(sources_of(messages, f"{row.get('instructions') or ''}\n{system}"))
        for made in row["calls"]:
            call, tool = Call(made["name"], made["arguments"]), tools[made["name"]]
            found = grounding.ungrounded(call, tool)
            calls += 1
            refused["all"] += bool(found)
            refused["identifiers"] += any(each.kind in IDENTIFIERS for each in found)
            for leaf in leaves_of(call.arguments, normalised(tool.parameters)):
                if kind := kind_of(leaf.value, leaf.formats):
                    pools[kind].append(leaf.value)
                    values.append((grounding, call, tool, leaf, kind))
        seconds += perf_counter() - begun
    caught: dict[str, list[bool]] = defaultdict(list)
    for grounding, call, tool, leaf, kind in values:
        value = rng.choice(pools[kind])
        if value != leaf.value and type(value) is type(leaf.value):
            changed = Call(call.name, replaced(call.arguments, leaf.path, value))
            found = grounding.ungrounded(changed, tool)
            caught[kind].append(any(each.path == json_path(leaf.path) for each in found))
    every = [each for kind in caught.values() for each in kind]
    shares = {kind: sum(each) / len(each) for kind, each in sorted(caught.items())}
    figures = {
        "calls": calls,
        "refused_share": refused["all"] / calls,
        "refused_for_identifiers_share": refused["identifiers"] / calls,
        "replaced": len(every),
        "caught_share": sum(every) / len(every),
        **{f"caught_{kind}_share": share for kind, share in shares.items()},
        "ms_a_step": 1e3 * seconds / len(rows[:most]),
    }
    return {f"{name}_{key}": value for key, value in figures.items()}


def main() -> None:
    given = options(__doc__.splitlines()[0]).parse_args()
    metrics = {key: each for name in NAMES for key, each in measure(name, given.limit, given.seed).items()}
    n = int(sum(metrics[f"{name}_calls"] for name in NAMES))
    finish(BenchmarkReport("grounding", n, metrics), given.json)


if __name__ == "__main__":
    main()
