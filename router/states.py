"""Labelled states: transcripts with what is right at their end, to fit a router on and to measure it."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.base.prompting import CALLS_HEADER
from loraloop.adapters.skill.contracts import Passage, user_content
from loraloop.adapters.training.data.example import transcript
from loraloop.adapters.training.data.frozen import PUBLIC, frozen_rows
from loraloop.router.decision import RouterState
from loraloop.tool_schemas.errors import InputError

CHOICES = ("none", "tools", "code", "retrieval")
"""The outcomes of a router as it is first fitted."""
PARTS = ("train", "eval", "cross")
"""Parts of the frozen states: `eval` has the sources of `train`, `cross` has sources that nothing is fitted on."""

ASSISTANTS = {"worlds": 240, "worlds_talk": 64}
"""How many assistants `call_states` draws: of those that are asked for what calls do, and of those with small talk."""


@dataclass(frozen=True, slots=True)
class LabelledState:
    """One routing point.

    Attributes:
        messages: The transcript; the router reads the last message.
        state: What can apply.
        label: The right outcome, or None where the choice is not judged.
        unsafe: The label of the screen, or None where it is not judged.
        source: Where the request comes from; validation leaves whole sources out.
        kind: `first`, `tool_result`, `dropped` or `follow_up`.
        text: The request in words.
        licence: Licence of the request.
    """

    messages: tuple[Message, ...]
    state: RouterState
    label: str | None
    unsafe: bool | None
    source: str
    kind: str
    text: str
    licence: str


def frozen_states(part: str = "train", data: Path | None = None, header: str = CALLS_HEADER) -> list[LabelledState]:
    """The frozen states of a part (`recipes/data/README.md`).

    Args:
        part: One of `PARTS`.
        data: The folder of the public sets; without it only the states that were written for this project are read.
        header: Stands above the tools of a transcript; see `Prompting.tools_header`.

    Raises:
        InputError: The folder lacks what the states stand on.
        ValueError: There is no such part.
    """
    if part not in PARTS:
        raise ValueError(f"unknown part {part!r}: use {', '.join(PARTS)}")
    names = ("router", f"router{PUBLIC}") if data is not None else ("router",)
    states = [
        state_of(row, header)
        for name in names
        for _, row in frozen_rows(name, data)
        if row.get("part", "train") == part
    ]
    return states + world_states(header) if part == "train" else states


def world_states(header: str = CALLS_HEADER) -> list[LabelledState]:
    """What users say first and later to the assistants of the training worlds, as a choice has it.

    What makes or asks for calls belongs to `tools`, what asks the passages to `retrieval` (whether they tell it or
    not), all else to `none`. Every other request and every other word of talk is read, and one question in four.
    """
    return [state_of(row, header) for row in (*_requests(), *_talk(), *_questions())]


def assistant_states(part: str, header: str = CALLS_HEADER) -> list[LabelledState]:
    """What users say to small assistants, `tools` where a call is needed, else `none`.

    Args:
        part: `train`, or `valid`: other assistants, written apart from those.
        header: Stands above the tools of a transcript.
    """
    return [
        _needed(row, "assistants", header) for _, row in frozen_rows("assistants") if row.get("part", "train") == part
    ]


def call_states(header: str = CALLS_HEADER) -> list[LabelledState]:
    """What users say first and later, `tools` where a call is needed, else `none`.

    They say it to small assistants, to those of the training worlds, and to tools of which none does what they want
    (with as many requests that one does). Four in five assistants of the worlds keep only one to four of their tools,
    one of them called in some request; requests for the tools that they lost are left out.
    """
    rng, states = random.Random(0), assistant_states("train", header)
    for name, count in ASSISTANTS.items():
        assistants: dict[str, list[dict[str, Any]]] = {}
        for row in _said(name):
            assistants.setdefault(json.dumps([row["messages"][0], row["tools"]]), []).append(row)
        for place in rng.sample(sorted(assistants), min(count, len(assistants))):
            rows = assistants[place]
            tools = _some_tools(rows, rng)
            names = {tool["name"] for tool in tools}
            states += [
                _needed({**row, "tools": tools}, name, header)
                for row in rows
                if names.issuperset(call["name"] for call in row.get("calls") or ())
            ]
    asked = _said("tools")
    unfit = [row for row in asked if not row["calls"]]
    fitting = rng.sample([row for row in asked if row["calls"]], len(unfit))
    return states + [_needed(row, "tools", header) for row in (*unfit, *fitting)]


def _said(name: str) -> list[dict[str, Any]]:
    """The records of a frozen file to learn from that end with a user's words to tools."""
    return [
        row
        for _, row in frozen_rows(name)
        if not {"part", "extra_prompt"} & set(row) and row["tools"] and row["messages"][-1]["role"] == "user"
    ]


def _needed(row: dict[str, Any], source: str, header: str) -> LabelledState:
    return state_of(_routed(row, source, "tools" if row.get("calls") else "none"), header)


def _some_tools(rows: list[dict[str, Any]], rng: random.Random) -> list[dict[str, Any]]:
    """A few of an assistant's tools, in their order, one of them called in some row; all, one time in five."""
    tools = rows[0]["tools"]
    count = rng.choice((1, 2, 3, 4, len(tools)))
    called = sorted({call["name"] for row in rows for call in row.get("calls") or ()})
    order = rng.sample(tools, len(tools))
    if called:
        needed = rng.choice(called)
        order.sort(key=lambda tool: tool["name"] != needed)
    kept = {tool["name"] for tool in order[:count]}
    return [tool for tool in tools if tool["name"] in kept]


def _requests() -> list[dict[str, Any]]:
    asked: list[tuple[str, dict[str, Any]]] = []  # with the assistant: instructions and tools
    for row in _said("worlds"):
        documents = row["kind"] == "retrieval" and _shows_passages(row)
        route = "tools" if row["calls"] else "retrieval" if documents else "none"
        asked.append((json.dumps([row["messages"][0], row["tools"]]), _routed(row, "worlds", route)))
    with_documents = {assistant for assistant, row in asked if row["route"] == "retrieval"}
    kept = [row for assistant, row in asked if assistant in with_documents]
    return [row for place, row in enumerate(kept) if row["route"] == "retrieval" or place % 2]


def _talk() -> list[dict[str, Any]]:
    rows = [row for _, row in frozen_rows("worlds_talk") if "part" not in row][::2]
    return [_routed(row, "talk", "none") for row in rows]


def _questions() -> list[dict[str, Any]]:
    routes = {"answered": "retrieval", "near": "retrieval", "tools": "tools"}
    rows = [row for _, row in frozen_rows("worlds_documents") if "part" not in row and row["kind"] in routes][::4]
    return [_routed(row, "questions", routes[row["kind"]]) for row in rows]


def _shows_passages(row: Mapping[str, Any]) -> bool:
    return str(row["messages"][-1]["content"]).startswith("Passages:")


def _routed(row: Mapping[str, Any], source: str, route: str) -> dict[str, Any]:
    facts = {"source": f"{source}_{route}", "license": "Apache-2.0", "kind": "", "route": route}
    return {**row, **facts, "shown": _shows_passages(row)}


def file_states(path: Path, header: str = CALLS_HEADER) -> list[LabelledState]:
    """The states of a file of JSON lines: `{"messages", "route", "tools", "passages"}`, the last two optional.

    Raises:
        InputError: The file cannot be read, or a record has no messages or no known route.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    if not rows:
        raise InputError(f"{path} holds no records")
    for row in rows:
        if not isinstance(row, dict) or row.get("route") not in CHOICES or not row.get("messages"):
            raise InputError(f"{path}: a record needs messages, and a route among {', '.join(CHOICES)}")
    return [state_of({"source": path.name.split(".")[0], **row}, header) for row in rows]


def state_of(row: Mapping[str, Any], header: str = CALLS_HEADER) -> LabelledState:
    """The state that a record describes."""
    *history, last = (Message(message["role"], message["content"]) for message in row["messages"])
    instructions = str(row.get("instructions") or "")
    if history and history[0].role == "system":
        instructions = history.pop(0).content
    tools = tuple(row.get("tools", ()))
    passages = [Passage(str(p["id"]), p["text"], p.get("title", "")) for p in row.get("passages", ())]
    shown = Message(last.role, user_content(last.content, passages)) if passages else last
    masked = frozenset(row.get("masked", ()))
    after = "dropped" if masked else "tool" if last.role == "tool" else "user"
    kind = "tool_result" if after == "tool" else "follow_up" if history else "first"
    return LabelledState(
        messages=transcript([*history, shown], instructions, tools, header),
        state=RouterState(
            tools=bool(tools),
            passages=bool(passages) or bool(row.get("shown")),
            python=bool(row.get("python")),
            masked=masked,
            after=after,
        ),
        label=row.get("route"),
        unsafe=row.get("unsafe"),
        source=str(row["source"]),
        kind=str(row.get("kind") or kind),
        text=str(row.get("text") or last.content),
        licence=str(row.get("license") or ""),
    )
