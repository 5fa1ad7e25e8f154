"""Cases made of public records: renamed tools, other candidates, several requests in one, the right tool gone."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.training.data.example import Split
from loraloop.adapters.training.sources.instructions import instructions_or_none
from loraloop.adapters.training.sources.records import endless, in_valid, read_records
from loraloop.adapters.training.sources.tools_public import Case
from loraloop.adapters.training.sources.typed_shown import joined, styled
from loraloop.tool_schemas.jsontext import dumps

_VERBS = {
    "get": ("get", "fetch", "retrieve", "lookup", "find", "show"),
    "search": ("search", "find", "query"),
    "find": ("find", "search", "lookup"),
    "book": ("book", "reserve", "order"),
    "create": ("create", "make", "add", "new"),
    "play": ("play", "start"),
    "add": ("add", "append", "insert"),
    "check": ("check", "verify", "get"),
}


def renamed(case: Case, rng: random.Random) -> Case:
    """The case with its tools and arguments under other names, the same for all of them in style."""
    style = rng.choice(("snake", "camel", "pascal", "dotted"))
    tools, names, arguments = [], dict[str, str](), dict[str, dict[str, str]]()
    for tool in case.tools:
        words = _words(tool["name"])
        if words and words[0] in _VERBS:
            words[0] = rng.choice(_VERBS[words[0]])
        name = styled(words or [tool["name"]], style, rng.choice(("api", "service", "tools", words[-1])))
        while name in names.values():
            name += "2"
        names[tool["name"]] = name
        parameters = tool["parameters"]
        new = {
            p: styled(_words(p), "camel" if style in ("camel", "pascal") else "snake") for p in parameters["properties"]
        }
        if len(set(new.values())) < len(new) or not all(new.values()):
            new = {p: p for p in new}
        arguments[tool["name"]] = new
        properties = {new[p]: schema for p, schema in parameters["properties"].items()}
        required = [new[p] for p in parameters.get("required", [])]
        tools.append(
            {
                **tool,
                "name": name,
                "parameters": {**parameters, "properties": properties, "required": required},
            }
        )
    calls = tuple(
        {
            "name": names[call["name"]],
            "arguments": {arguments[call["name"]].get(a, a): v for a, v in call["arguments"].items()},
        }
        for call in case.calls
    )
    return replace(case, tools=tuple(tools), calls=calls, gold={**case.gold, "renamed": style})


def shuffled(case: Case, rng: random.Random, extra: Sequence[dict[str, Any]] = (), most: int = 6) -> Case:
    """The case with its tools in another order, some not needed left out, others added, at most `most`."""
    needed = {call["name"] for call in case.calls}
    kept = [tool for tool in case.tools if tool["name"] in needed or not case.calls or rng.random() < 0.75]
    names = {tool["name"] for tool in kept}
    room = max(0, most - len(kept))
    kept += [tool for tool in extra if tool["name"] not in names][:room]
    rng.shuffle(kept)
    return replace(case, tools=tuple(kept), instructions=case.instructions or instructions_or_none(rng, 0.3))


def composed(cases: Sequence[Case], rng: random.Random) -> Case | None:
    """Several one-call cases as one request with all their calls; None if their tools contradict each other."""
    tools: dict[str, dict[str, Any]] = {}
    for case in cases:
        for tool in case.tools:
            if tools.setdefault(tool["name"], tool) != tool:
                return None
    needed = {call["name"] for case in cases for call in case.calls}
    order = [tool for name, tool in tools.items() if name in needed or rng.random() < 0.3]
    rng.shuffle(order)
    texts = [case.text.split("\n")[0].strip() for case in cases]
    if any(len(case.text) > 260 for case in cases):
        return None
    calls = tuple(call for case in cases for call in case.calls)
    return replace(
        cases[0],
        tools=tuple(order),
        turns=(Message("user", joined(texts, rng)),),
        calls=calls,
        kind="parallel" if len({call["name"] for call in calls}) == 1 else "parallel_multiple",
        id="+".join(case.id for case in cases),
        instructions=instructions_or_none(rng, 0.3),
        gold={},
    )


def by_tool(cases: Iterable[Case]) -> list[list[Case]]:
    """One-call cases that call the same tool, shown in the same way; groups of at least two."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        tool = next(tool for tool in case.tools if tool["name"] == case.calls[0]["name"])
        groups.setdefault(dumps(tool), []).append(replace(case, tools=(tool,)))
    return [group for group in groups.values() if len(group) > 1]


def without_right_tool(case: Case, others: Sequence[dict[str, Any]], rng: random.Random) -> Case | None:
    """The case with the tools that its calls need taken out; None if nothing is left to offer."""
    needed = {call["name"] for call in case.calls}
    kept = [tool for tool in case.tools if tool["name"] not in needed] or list(others[:2])
    kept = [tool for tool in kept if tool["name"] not in needed]
    if not kept or not case.calls:
        return None
    return replace(case, tools=tuple(kept), calls=(), kind="none", id=case.id + "~", gold={"reason": "right tool gone"})


def chat_texts(data: Path, split: Split, rng: random.Random) -> Iterator[str]:
    """User texts that ask for no tool: general questions, word problems, role play, code."""
    pools: list[list[str]] = []
    for name in ("general/gsm8k", "general/roleplay", "code/codegen_instruct"):
        records = read_records(data / f"{name}.train.jsonl")
        part = [r for r in records if in_valid(r["id"]) == (split == "valid")]
        pools.append([r["messages"][-1]["content"] for r in part if len(r["messages"][-1]["content"]) < 420])
    records = read_records(data / "retrieval/nq_open.train.jsonl")
    pools.append([r["question"] for r in records if in_valid(r["id"]) == (split == "valid")])
    full = [(endless(pool, rng), weight) for pool, weight in zip(pools, (20, 15, 15, 50), strict=True) if pool]
    drawn, weights = [texts for texts, _ in full], [weight for _, weight in full]
    while drawn:
        text = next(rng.choices(drawn, weights)[0])
        yield text + ("?" if text[-1].isalnum() and rng.random() < 0.4 else "")


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return [word.lower() for word in re.split(r"[^A-Za-z0-9]+", spaced) if word]
