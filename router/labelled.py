"""Labelled states of one file: records in a form of the data, or requests with their route."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import Passage, user_content
from loraloop.router.decision import RouterState
from loraloop.router.labels import CHOICES
from loraloop.router.practice_held_out import HELD_OUT
from loraloop.router.states import DROPS, EVAL_INSTRUCTIONS, Pool, State, family_requests, place, system
from loraloop.tool_schemas import Tool
from loraloop.tool_schemas.errors import InputError


def file_states(path: Path, seed: int = 0, limit: int | None = None) -> list[State]:
    """States of a file of JSON lines.

    A record with `route` (one of the choice's outcomes) is taken at its word: `{"messages", "tools", "passages",
    "route"}`, all but the first and the last optional. Others are read by their form, as `loraloop.router.labels` says.

    Args:
        path: The file.
        seed: Of the contexts that are dealt round requests.
        limit: Records at most, the first ones.

    Raises:
        InputError: It cannot be read, or holds no record of a known form.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()][:limit]
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    if not rows:
        raise InputError(f"{path} holds no records")
    name = path.name.split(".")[0]
    if all("route" in row for row in rows):
        return [_routed(row, name, path) for row in rows]
    rng = random.Random(f"{name}-{seed}")
    known = [p for p in HELD_OUT if p.name not in ("define_word", "prime_factors")]
    lists = [tuple(Tool.from_function(p.function) for p in rng.sample(known, k=rng.randrange(1, 4))) for _ in range(20)]
    around = Pool(tuple(lists), (), EVAL_INSTRUCTIONS)
    states: list[State] = []
    for number, request in enumerate(family_requests(rows, _family(rows[0], path), name, "eval", rng)):
        states += place(request, around, random.Random(f"{seed}-{name}-{number}"), DROPS)
    return states


def _family(row: dict[str, Any], path: Path) -> str:
    if "calls" in row:
        return "tools"
    if "question" in row and "passages" in row:
        return "retrieval"
    if "text" in row and "label" in row:
        return "safety"
    if "completion" in row:
        return "code" if "tests" in row or "language" in row else "general"
    raise InputError(
        f"{path}: records with {', '.join(row)} have no known form: give messages and route ({', '.join(CHOICES)})"
    )


def _routed(row: dict[str, Any], name: str, path: Path) -> State:
    if row["route"] not in CHOICES or not row.get("messages"):
        raise InputError(f"{path}: a record needs messages and a route among {', '.join(CHOICES)}")
    *history, last = (Message(m["role"], m["content"]) for m in row["messages"])
    tools = tuple(Tool.from_schema(tool) for tool in row.get("tools", ()))
    passages = tuple(Passage(str(p["id"]), p["text"]) for p in row.get("passages", ()))
    instructions = history.pop(0).content if history and history[0].role == "system" else ""
    said = Message(last.role, user_content(last.content, passages)) if passages else last
    after = "tool" if last.role == "tool" else "user"
    flags = RouterState(bool(tools), bool(passages), bool(row.get("python")), frozenset(row.get("masked", ())), after)
    kind = "tool_result" if after == "tool" else "follow_up" if history else "first"
    messages = (*system(instructions, tools), *history, said)
    return State(messages, flags, row["route"], None, name, kind, last.content, str(row.get("license", "")))
