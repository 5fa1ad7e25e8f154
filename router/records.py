"""Requests from the data folder: what a user says, what it needs, and how it is labelled (`loraloop.router.labels`)."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.skill.contracts import Passage
from loraloop.router.labels import asks_for_code
from loraloop.tool_schemas import Tool, render_tools
from loraloop.tool_schemas.errors import InputError

Records = Sequence[dict[str, Any]]
TOOLS_LENGTH = 700
PASSAGES_LENGTH = 520


@dataclass(frozen=True, slots=True)
class Request:
    """One user turn before a context is put round it.

    Attributes:
        label: The right route, or None where it is not used for the choice.
        unsafe: The screen's label.
        tools: Tools that belong to it (always listed); empty: any context fits.
        strict: The tools above are all that may be listed.
        passages: Passages that belong to it.
        history: Turns before it.
        instructions: System text that belongs to it.
        role: Who says it: `user`, or `tool` for a document that a tool returned.
        alone: Passages must not be added (it could be answered from passages).
        sums: A calculator would serve it: no tools like that may be listed.
    """

    text: str
    label: str | None
    unsafe: bool | None
    source: str
    licence: str
    tools: tuple[Tool, ...] = ()
    strict: bool = False
    passages: tuple[Passage, ...] = ()
    history: tuple[Message, ...] = ()
    instructions: str = ""
    role: str = "user"
    alone: bool = False
    sums: bool = False


def read(data: Path, name: str, split: str, limit: int) -> list[dict[str, Any]]:
    """The first `limit` records of `name.split.jsonl` (the files are in random order).

    Raises:
        InputError: If the file is missing.
    """
    path = data / f"{name}.{split}.jsonl"
    if not path.is_file():
        raise InputError(f"no data file {path}: give --data the folder that holds tools/, code/, retrieval/ …")
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for _, line in zip(range(limit), lines, strict=False)]


def _tools(record: dict[str, Any]) -> list[Tool]:
    found = []
    for schema in record["tools"]:
        try:
            found.append(Tool.from_schema(schema))
        except Exception:  # a schema outside what the grammar takes is no candidate for a tool list
            continue
    return found


def fit_tools(
    tools: Sequence[Tool], needed: frozenset[str], rng: random.Random, limit: int = TOOLS_LENGTH
) -> tuple[Tool, ...]:
    """As many of the tools as fit into `limit` characters, the needed ones always, in random order."""
    kept = [t for t in tools if t.name in needed]
    size = len(render_tools(kept)) if kept else 0
    for tool in rng.sample([t for t in tools if t.name not in needed], k=len(tools) - len(kept)):
        size += len(render_tools([tool])) - (130 if kept else 0)
        if size > limit:
            break
        kept.append(tool)
    rng.shuffle(kept)
    return tuple(kept)


def trim(passages: Sequence[Passage], rng: random.Random, limit: int = PASSAGES_LENGTH) -> tuple[Passage, ...]:
    """A run of the passages that fits into `limit` characters, the last one cut at a sentence if it must be."""
    kept: list[Passage] = []
    left = limit - rng.randrange(limit // 2)
    for passage in passages:
        text = passage.text
        if len(text) > left:
            text = text[:left].rsplit(". ", 1)[0]
        if text:
            kept.append(replace(passage, text=text))
        left -= len(text)
        if left < 60:
            break
    return tuple(kept)


def _messages(record: dict[str, Any]) -> tuple[Message, ...]:
    return tuple(Message(m["role"], m["content"]) for m in record["messages"])


def tool_requests(records: Records, name: str, rng: random.Random) -> Iterator[Request]:
    """Calls, requests that no listed tool serves, and near misses made by swapping lists (Toolformer, Seal-Tools)."""
    for record in records:
        *history, last = _messages(record)
        tools, called = _tools(record), frozenset(c["name"] for c in record["calls"])
        if not called <= {t.name for t in tools} or sum(len(m.content) for m in history) > 700:
            continue
        common = {
            "unsafe": False,
            "source": name,
            "licence": record["license"].split(" ")[0],
            "history": tuple(history),
            "alone": name == "toolformer",
        }
        kind = record.get("kind", "call" if called else "irrelevance")
        label = "tools" if called else None if kind == "missing_required" else "none"
        listed = fit_tools(tools, called, rng, rng.choice((200, 450, TOOLS_LENGTH)))
        if listed and len(render_tools(listed)) < 1800:
            yield Request(last.content, label, tools=listed, strict=not called, **common)
        if called and name in ("toolformer", "sealtools") and rng.random() < 0.75:
            other = [t for t in tools if t.name not in called] if name == "toolformer" else _tools(rng.choice(records))
            spare = fit_tools(
                [t for t in other if t.name not in called], frozenset(), rng, rng.choice((250, 450, TOOLS_LENGTH))
            )
            if spare:
                yield Request(last.content, "none", tools=spare, strict=True, **common)


def code_requests(records: Records, name: str) -> Iterator[Request]:
    """Tasks: code where they ask for Python."""
    for record in records:
        text = record["messages"][-1]["content"]
        if len(text) < 900:
            label = "code" if record.get("language", "python") == "python" else "none"
            yield Request(
                text,
                label,
                False,
                name if label == "code" else f"{name}_other",
                record["license"],
                alone=label == "none",
            )


def _passages(record: dict[str, Any]) -> tuple[Passage, ...]:
    return tuple(Passage(p["id"], p["text"], p.get("title", "")) for p in record["passages"])


def passages_of(data: Path, name: str, split: str, limit: int) -> list[tuple[Passage, ...]]:
    """The passages of a retrieval file's records, to put where they do not belong."""
    return [_passages(record) for record in read(data, f"retrieval/{name}", split, limit)]


ASKING = (
    "{q}",
    "{q}",
    "{q}?",
    "According to the passages, {q}?",
    "{q}? Answer from the texts and cite them.",
    "Using the passages: {q}",
    "Please find in the texts: {q}",
    "I want to know this, with sources: {q}",
)


def retrieval_requests(records: Records, name: str, split: str, rng: random.Random) -> Iterator[Request]:
    """Questions with their passages; for every third, also the bare question, which the base answers."""
    for record in records:
        question, licence = record["question"], record["license"].split(" ")[0].rstrip(";")
        asked = (
            rng.choice(ASKING).format(q=question.rstrip("?")) if split == "train" and "\n" not in question else question
        )
        yield Request(asked, "retrieval", False, name, licence, passages=trim(_passages(record), rng))
        if rng.random() < 0.34:
            yield Request(question, "none", False, f"{name}_bare", licence, alone=True)


def general_requests(records: Records, name: str) -> Iterator[Request]:
    """Talk, word problems and texts: none, unless they ask for code."""
    for record in records:
        text = record["messages"][-1]["content"]
        if len(text) < 1200:
            label = "code" if asks_for_code(text) else "none"
            yield Request(text, label, False, name, record["license"], alone=name == "seed_tasks", sums=name == "gsm8k")


def safety_requests(records: Records, name: str, skip: tuple[str, ...] = ()) -> Iterator[Request]:
    """Screen examples. XSTest's safe prompts also count for the choice, as none."""
    for record in records:
        category, text = str(record["category"]), record["text"]
        if len(text) > 1100 or any(s in category for s in skip):
            continue
        unsafe = record["label"] == "unsafe"
        document = category.startswith("benign_document")
        group = f"safety_{category.split(':')[0].split(' ')[0]}" if name == "prompts" else name
        if (name == "prompts" and unsafe and ";" in category) or "adv_bench" in record["source"]:
            group = "safety_advbench"
        yield Request(
            text,
            "none" if name == "xstest" and not unsafe else None,
            unsafe,
            group,
            record["license"].split(" ")[0],
            instructions=record.get("context", ""),
            role="tool" if document else "user",
            alone=True,
        )
