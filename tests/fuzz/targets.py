"""Parsers that meet strangers, each fed with bytes; and mutations of JSON that keep it JSON.

A target may raise the library's own errors. Everything else is a crash.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pydantic

from loraloop.adapters.skill.card import Card, method_of
from loraloop.adapters.skill.store import read_header
from loraloop.agent.tools.observation import cut_json
from loraloop.agent.tools.runner import check_shape
from loraloop.agent.tracing.trace import Trace
from loraloop.agent.values.calls import CallRecord
from loraloop.agent.values.checkpoint import PendingRun
from loraloop.tool_schemas.errors import LoraloopError
from loraloop.tool_schemas.grammar.prepare import prepared
from loraloop.tool_schemas.http.auth import Redactor
from loraloop.tool_schemas.http.body import decode, read
from loraloop.tool_schemas.jsontext import dumps, strict_loads
from loraloop.tool_schemas.mcp.results import data_of, tool_of
from loraloop.tool_schemas.openapi.service import load_openapi
from loraloop.tool_schemas.tools.tool_lists import entries
from loraloop.tool_schemas.yamltext import read_yaml

CORPUS = Path(__file__).parent / "corpus"
LARGEST = 1 << 16
HIDE = Redactor(["s3cr3t/Token+42"])


def card(data: bytes) -> None:
    method_of(Card.from_json(data.decode("utf-8", "replace")))


def safetensors(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as file:
        file.write(data)
        file.flush()
        read_header(Path(file.name)).ranks("skill.safetensors")


def openapi(data: bytes) -> None:
    document = read_yaml(data.decode("utf-8", "replace"), "the document")
    if not isinstance(document, dict):  # a text would be a path or an address
        return
    with load_openapi(document, on_refused="skip", base_url="https://api.test") as service:
        for tool in service.tools:
            with suppress(LoraloopError):
                tool.function.template.fill(dict.fromkeys(tool.parameters["properties"], "a/../b"))  # type: ignore[union-attr]


def mcp(value: Any) -> None:
    import mcp_types

    listed = value.get("tools") if isinstance(value, dict) else None
    try:
        for entry in listed if isinstance(listed, list) else ():
            made = mcp_types.Tool.model_validate(entry)
            tool_of(made, lambda: None, name=made.name, on_unsupported="check", timeout=1.0, source="mcp:x")
        if isinstance(value, dict) and "content" in value:
            found = data_of(mcp_types.CallToolResult.model_validate(value))
            check_shape(found)
            json.loads(dumps(found))
    except pydantic.ValidationError:
        pass  # the SDK's own word that this is no message


def trace(data: bytes) -> None:
    Trace.from_json(data).to_json()


def pending(data: bytes) -> None:
    PendingRun.from_json(data).to_json()


def result(value: Any) -> None:
    check_shape(value)
    text = dumps(value)
    assert strict_loads(text) == strict_loads(dumps(strict_loads(text)))
    json.loads(dumps(CallRecord("look", {}, value)))  # as it is stored
    for length in (0, 7, len(text) // 2):
        cut_json(text, length, "…").encode()


def schema(value: Any) -> None:
    if isinstance(value, dict):
        prepared(value, "check")


def tools(value: Any) -> None:
    for entry in entries(value):
        with suppress(LoraloopError):
            entry.tool("check")


def answer(data: bytes) -> None:
    """The first line is the type of the content, the second its encoding."""
    kind, _, rest = data.partition(b"\n")
    encoding, _, body = rest.partition(b"\n")
    content = read(iter([body[:7], body[7:]]), {"content-encoding": encoding.decode("latin-1")}, 1 << 20, float("inf"))
    decode(content, kind.decode("latin-1"), "auto", HIDE)


TEXTS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each for each in (card, safetensors, openapi, trace, pending, answer)
}
VALUES: dict[str, Callable[[Any], None]] = {each.__name__: each for each in (mcp, result, schema, tools)}
TARGETS = (*TEXTS, *VALUES)


def run(name: str, data: bytes) -> None:
    """Feeds a target; those that take JSON data get what is JSON alone. Raises what is a crash."""
    data = data[:LARGEST]
    with suppress(LoraloopError):
        if name in TEXTS:
            TEXTS[name](data)
            return
        try:
            value = strict_loads(data.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return
        VALUES[name](value)


def seeds(name: str) -> list[bytes]:
    """The kept corpus of a target."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


# --- mutations -------------------------------------------------------------------------------------------------------

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**63, 1e308, 0.1, "", [], {}, "\x00", "\ud800", "#", "#/$defs/x", "<|im_end|>"),
    *("..", "https://h/{x}", "^(a+)+$", "\\b", "date", ["a"], {"a": 1}, {"$ref": "#"}, {"type": "object"}, "x" * 300),
)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The data with some changes; JSON stays JSON, of the first part that is."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        out = bytearray(data)
        for _ in range(chance.randint(1, 6)):
            at = chance.randint(0, len(out))
            out[at : at + chance.randint(0, 4)] = chance.randbytes(chance.randint(0, 4))
        return bytes(out)
    for _ in range(chance.randint(1, 4)):
        value = _changed(value, chance)
    try:
        return json.dumps(value).encode()
    except RecursionError:
        return data


def _changed(value: Any, chance: random.Random) -> Any:
    places = list(_places(value))
    if not places:
        return deepcopy(chance.choice(ODD))
    holder, key = chance.choice(places)
    kind = chance.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        holder[key] = deepcopy(chance.choice(ODD))
    elif kind == 2:
        other, there = chance.choice(places)
        with suppress(LookupError, RecursionError):
            holder[key] = json.loads(json.dumps(other[there]))
    elif kind == 3:
        for _ in range(chance.choice((1, 3, 120, 400))):
            holder[key] = [holder[key]] if chance.random() < 0.5 else {"a": holder[key]}
    elif kind == 4 and isinstance(holder, dict):
        holder[chance.choice(("a", "", "$ref", "type", "items", "name", "\ud800", "x-y", str(key) + "x"))] = holder[key]
    elif isinstance(holder[key], str) and holder[key]:
        at = chance.randrange(len(holder[key]))
        holder[key] = (
            holder[key][:at] + chance.choice(("", "\n", "/", "{", "é", "<|im_start|>")) + holder[key][at + 1 :]
        )
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    pending = [value]
    while pending:
        each = pending.pop()
        keys = list(each) if isinstance(each, dict) else range(len(each)) if isinstance(each, list) else ()
        for key in keys:
            yield each, key
            pending.append(each[key])
