"""Tool-call records of public data sets, as cases that the makers can still change."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loraloop.adapters.base.messages import Message
from loraloop.adapters.training.data.example import Example, Split, transcript
from loraloop.adapters.training.sources.records import in_valid, read_records
from loraloop.tool_schemas.jsontext import dumps

FILES = ("sgd", "sealtools", "snips", "toolformer")
EVAL_FILES = ("bfcl", "sgd", "sealtools", "snips")


@dataclass(frozen=True, slots=True)
class Case:
    """A tools step before it is rendered: what is offered, what was said, and the calls that fit."""

    tools: tuple[dict[str, Any], ...]
    turns: tuple[Message, ...]
    calls: tuple[dict[str, Any], ...]
    kind: str
    id: str
    group: str
    source: str
    license: str
    instructions: str = ""
    gold: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The last turn's text."""
        return self.turns[-1].content

    @property
    def plain(self) -> bool:
        """Whether it is one user turn answered by one call."""
        return len(self.turns) == 1 and len(self.calls) == 1

    def example(self) -> Example:
        """The rendered example."""
        return Example(
            skill="tools",
            kind=self.kind,
            id=self.id,
            group=self.group,
            messages=transcript(self.turns, self.instructions, self.tools),
            completion=dumps([in_order(call, self.tools) for call in self.calls]),
            source=self.source,
            license=self.license,
            tools=self.tools,
            gold={"calls": self.calls, **self.gold},
        )


def in_order(call: Mapping[str, Any], tools: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The call with its arguments in the order of the tool's schema, as constrained decoding writes them."""
    schema: dict[str, Any] = next((t["parameters"] for t in tools if t["name"] == call["name"]), {})
    return {"name": call["name"], "arguments": _ordered(call["arguments"], schema)}


def _ordered(value: Any, schema: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        names = [name for name in properties if name in value] + [name for name in value if name not in properties]
        return {name: _ordered(value[name], properties.get(name, {})) for name in names}
    if isinstance(value, list):
        items = schema.get("items", {})
        return [_ordered(item, items if isinstance(items, dict) else {}) for item in value]
    return value


def case_of(record: Mapping[str, Any], keep_defaults: bool = False) -> Case:
    """A record in the data page's tools form, as a case.

    Unless `keep_defaults`, optional arguments that only repeat the schema's default without the user having said so
    are left out: a call should not fill what nobody asked for.
    """
    tools = tuple(record["tools"])
    said = " ".join(message["content"] for message in record["messages"]).lower()
    calls = tuple(call if keep_defaults else without_defaults(call, tools, said) for call in record["calls"])
    kind = record.get("category") or {"call": "single", "parallel": "parallel"}.get(record.get("kind", ""), "none")
    gold = {key: record[key] for key in ("accepts", "category") if record.get(key) is not None}
    if kind == "none":
        gold["reason"] = record.get("kind", "")
    return Case(
        tools=tools,
        turns=tuple(Message(m["role"], m["content"]) for m in record["messages"]),
        calls=calls,
        kind=kind,
        id=record["id"],
        group=group_of(record["id"]),
        source=record["source"],
        license=record["license"],
        gold=gold,
    )


def without_defaults(call: Mapping[str, Any], tools: Iterable[Mapping[str, Any]], said: str = "") -> dict[str, Any]:
    """The call without optional arguments that equal the schema's default and were not said."""
    schema: dict[str, Any] = next((t["parameters"] for t in tools if t["name"] == call["name"]), {})
    required, properties = schema.get("required", []), schema.get("properties", {})
    kept = {}
    for name, value in call["arguments"].items():
        default = properties.get(name, {}).get("default")
        idle = name not in required and default is not None and str(default) == str(value)
        if not idle or (not isinstance(value, bool) and len(str(value)) > 1 and str(value).lower() in said):
            kept[name] = value
    return {"name": call["name"], "arguments": kept}


def group_of(identity: str) -> str:
    """The group of a record: all turns of one SGD dialogue share it."""
    return "-".join(identity.split("-")[:3]) if identity.startswith("sgd-") else identity


def public_cases(data: Path, name: str, split: Split) -> list[Case]:
    """Cases of one source file.

    Args:
        data: Folder of the data page.
        name: One of `FILES`, or of `EVAL_FILES` for the eval split.
        split: Train and valid are parts of the train file.
    """
    if split == "eval":
        return [case_of(record, keep_defaults=True) for record in read_records(data / "tools" / f"{name}.eval.jsonl")]
    records = read_records(data / "tools" / f"{name}.train.jsonl")
    cases = [case_of(r) for r in records if in_valid(group_of(r["id"])) == (split == "valid")]
    return [case for case in cases if figures_said(case)] if name == "sealtools" else cases


def figures_said(case: Case) -> bool:
    """Whether every figure in the calls was said by the user; some generated records invent them."""
    said = " ".join(turn.content for turn in case.turns).replace(",", "")
    values = dumps([call["arguments"] for call in case.calls])
    return all(figure in said for figure in re.findall(r"\d+", re.sub(r"\.0\b", "", values)))
