"""Schemas to decode calls under: BFCL's tools, MaskBench's schemas, the repository's own tools, and random ones."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import count, cycle
from pathlib import Path
from typing import Any

Given = tuple[str, list[dict[str, Any]]]
"""Where it comes from, and the parameters of each tool."""

WORDS = ("city", "unit", "when", "a b", "größe", 'q"', "n", "tags", "note", "amount")
PATTERNS = ("^[A-Z]{2}[0-9]{3}$", "^(low|mid|high)$", r"^\d{2}:\d{2}$", "^[a-z]+(-[a-z]+)*$", "x", "^[^,]{1,8}$")
FORMATS = ("date", "time", "date-time", "email", "ipv4", "ipv6", "uuid", "uri", "duration", "hostname")
LITERALS = (None, True, 0, 1, -2.5, "yes", "no", "ünï", 'q"uo', [1, "a"], {"k": None})


def bfcl(data: Path) -> Iterator[Given]:
    """The tools of each record."""
    with (data / "tools" / "bfcl.eval.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            yield "bfcl", [tool["parameters"] for tool in json.loads(line)["tools"][:3]]


def maskbench(data: Path) -> Iterator[Given]:
    """Each schema, as the parameters of a tool or as its one argument."""
    with (data / "jsonschema" / "maskbench.eval.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            schema = json.loads(line)["schema"]
            if isinstance(schema, dict):
                yield "maskbench", [schema if schema.get("type") == "object" else _argument(schema)]


def own() -> Iterator[Given]:
    """The tools that the repository shows."""
    folder = Path(__file__).resolve().parents[1] / "tool_schemas" / "examples"
    for place in sorted(folder.glob("*.json")):
        document = json.loads(place.read_text(encoding="utf-8"))
        tools = document if isinstance(document, list) else [document]
        yield "own", [tool.get("parameters", {"type": "object"}) for tool in tools]


def drawn(seed: int) -> Iterator[Given]:
    """Random schemas without end, of every keyword that a grammar enforces and of some that it does not."""
    for number in count():
        rng = random.Random(f"{seed}/{number}")
        yield "drawn", [_object(rng, 2) for _ in range(rng.choice((1, 1, 2)))]


def mixed(data: Path | None, seed: int) -> Iterator[Given]:
    """All of them in turn, without end."""
    sources = [drawn(seed), cycle(own())]
    if data is not None:
        sources += [cycle(bfcl(data)), cycle(maskbench(data))]
    while True:
        for source in sources:
            yield next(source)


def _argument(schema: dict[str, Any]) -> dict[str, Any]:
    """An object with one required argument, whose references still lead where they led."""
    moved = json.loads(json.dumps(schema).replace('"$ref": "#', '"$ref": "#/properties/value'))
    kept = {"$schema": moved.pop("$schema")} if isinstance(moved.get("$schema"), str) else {}
    return {**kept, "type": "object", "properties": {"value": moved}, "required": ["value"]}


def _schema(rng: random.Random, depth: int) -> dict[str, Any]:
    kinds = [_text, _text, _number, _number, _literals, _flag]
    if depth:
        kinds += [_object, _array, _array, _union]
    return rng.choice(kinds)(rng, depth - 1)


def _flag(rng: random.Random, depth: int) -> dict[str, Any]:
    return {"type": rng.choice(["boolean", "null", ["boolean", "null"]])}


def _literals(rng: random.Random, depth: int) -> dict[str, Any]:
    if rng.random() < 0.2:
        return {"const": rng.choice(LITERALS)}
    return {"enum": rng.sample(LITERALS, rng.randint(1, 4))}


def _text(rng: random.Random, depth: int) -> dict[str, Any]:
    kind = rng.random()
    if kind < 0.25:
        return {"type": "string", "pattern": rng.choice(PATTERNS)}
    if kind < 0.5:
        return {"type": "string", "format": rng.choice(FORMATS)}
    schema: dict[str, Any] = {"type": rng.choice(["string", "string", ["string", "null"]])}
    if rng.random() < 0.5:
        schema["minLength"] = rng.randint(0, 4)
    if rng.random() < 0.5:
        schema["maxLength"] = schema.get("minLength", 0) + rng.randint(0, 12)
    return schema


def _number(rng: random.Random, depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": rng.choice(["integer", "number"])}
    low = rng.choice([-100, -2, 0, 1, 18])
    if rng.random() < 0.6:
        schema[rng.choice(["minimum", "exclusiveMinimum"])] = low
    if rng.random() < 0.6:
        schema[rng.choice(["maximum", "exclusiveMaximum"])] = low + rng.choice([5, 90, 10_000])
    if rng.random() < 0.15:
        schema["multipleOf"] = rng.choice([2, 5, 0.25, 0.1])
    return schema


def _array(rng: random.Random, depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "array", "items": _schema(rng, depth)}
    least = rng.choice([0, 0, 1, 2])
    if rng.random() < 0.3:
        schema["prefixItems"] = [_schema(rng, 0) for _ in range(rng.randint(1, 2))]
    if rng.random() < 0.6:
        schema |= {"minItems": least, "maxItems": least + rng.randint(0, 3)}
    if rng.random() < 0.2:
        schema["uniqueItems"] = True
    if rng.random() < 0.1:
        schema["contains"] = {"type": "integer"}
    return schema


def _union(rng: random.Random, depth: int) -> dict[str, Any]:
    if rng.random() < 0.3:
        return {"oneOf": [{"type": "string", "maxLength": 8}, {"type": "integer", "minimum": 0}]}
    return {"anyOf": [_schema(rng, depth) for _ in range(rng.randint(1, 3))]}


def _object(rng: random.Random, depth: int) -> dict[str, Any]:
    names = rng.sample(WORDS, rng.randint(0, 4))
    schema: dict[str, Any] = {"type": "object", "properties": {name: _schema(rng, depth) for name in names}}
    schema["required"] = [name for name in names if rng.random() < 0.5]
    kind = rng.random()
    if kind < 0.3:
        schema["additionalProperties"] = False
    elif kind < 0.4:
        schema["additionalProperties"] = _schema(rng, 0)
    elif kind < 0.45:
        schema = {"type": "object", "patternProperties": {"^x-": _schema(rng, 0)}, "additionalProperties": False}
    rare = rng.random()
    if rare < 0.05 and len(names) > 1:
        schema["dependentRequired"] = {names[0]: [names[1]]}
    elif rare < 0.1 and names:
        schema["not"] = {"required": [names[0]]} if names[0] not in schema.get("required", ()) else {"type": "null"}
    elif rare < 0.15:
        schema["maxProperties"] = rng.randint(1, 4)
    return schema
