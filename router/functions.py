"""Tool requests made from documented Python functions: a signature becomes a tool, a doctest call becomes a request."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loraloop.router.records import Request, read
from loraloop.tool_schemas import Tool
from loraloop.tool_schemas.errors import SchemaError

_TYPES: dict[str, dict[str, Any]] = {
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "str": {"type": "string"},
    "bool": {"type": "boolean"},
    "list": {"type": "array"},
    "list[int]": {"type": "array", "items": {"type": "integer"}},
    "list[float]": {"type": "array", "items": {"type": "number"}},
    "list[str]": {"type": "array", "items": {"type": "string"}},
    "float | int": {"type": "number"},
    "int | float": {"type": "number"},
}
WORDINGS = (
    "Calculate the {what} for {given}.",
    "What is the {what} with {given}?",
    "Find the {what} given {given}.",
    "{what}: {given}",
    "I need the {what}. {given}.",
    "Can you work out the {what} when {given}?",
    "Determine the {what} using {given}.",
    "please get me the {what} for {given}",
    "{prose}: {given}.",
    "{prose}. Take {given}.",
    "Given {given}, what is the {what}?",
)


@dataclass(frozen=True, slots=True)
class Function:
    """A tool and example calls of it."""

    tool: Tool
    what: str
    calls: tuple[dict[str, Any], ...]


def functions(data: Path, split: str, limit: int) -> list[Function]:
    """The functions of the TheAlgorithms records whose signature and doctests are simple enough to be a tool."""
    found = []
    for record in read(data, "code/thealgorithms", split, limit):
        made = _function(record["messages"][-1]["content"])
        if made is not None:
            found.append(made)
    return found


def _function(text: str) -> Function | None:
    signature = re.search(r"^def .*:$", text, re.MULTILINE)
    if signature is None:
        return None
    try:
        node = ast.parse(signature.group() + " ...").body[0]
    except SyntaxError:
        return None
    if (
        not isinstance(node, ast.FunctionDef)
        or not 1 <= len(node.args.args) <= 4
        or len(node.name) < 6
        or node.name == "solution"
    ):
        return None
    properties: dict[str, Any] = {}
    for argument in node.args.args:
        kind = ast.unparse(argument.annotation) if argument.annotation else ""
        if kind not in _TYPES:
            return None
        properties[argument.arg] = {**_TYPES[kind], "description": argument.arg.replace("_", " ")}
    prose = text[signature.end() :].split("Examples:")[0].strip().split("\n\n")[0].split(". ")[0]
    prose = re.sub(r"\s+", " ", prose)[:120]
    calls = tuple(_calls(node.name, list(properties), text))
    if not calls or not len(prose) > 12 or ">>>" in prose or ":param" in prose:
        return None
    required = list(properties)[: len(properties) - len(node.args.defaults)]
    schema = {"type": "object", "properties": properties, "required": required}
    try:
        tool = Tool.from_schema({"name": node.name, "description": prose, "parameters": schema})
    except SchemaError:
        return None
    what = node.name.replace("_", " ")
    for verb in ("get ", "find ", "calculate ", "compute ", "is ", "check "):
        what = what.removeprefix(verb)
    return Function(tool, what, calls)


def _calls(name: str, parameters: list[str], text: str) -> Iterator[dict[str, Any]]:
    for line in re.findall(rf"^>>> ({re.escape(name)}\(.*\))$", text, re.MULTILINE):
        try:
            call = ast.parse(line, mode="eval").body
            if isinstance(call, ast.Call) and len(call.args) <= len(parameters) and len(line) < 120:
                values = dict(zip(parameters, [ast.literal_eval(a) for a in call.args], strict=False))
                values |= {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
                if values:
                    yield values
        except (SyntaxError, ValueError):
            continue


def function_requests(data: Path, split: str, limit: int, rng: random.Random) -> Iterator[Request]:
    """Requests that a listed function serves (tools), and the same with other functions listed (none)."""
    known = list({f.tool.name: f for f in functions(data, split, 10**6)}.values())
    for function in known[:limit]:
        values = rng.choice(function.calls)
        given = " and ".join(
            rng.choice(("{k} {v}", "{k} = {v}", "{k} of {v}")).format(k=k.replace("_", " "), v=v)
            for k, v in values.items()
        )
        text = rng.choice(WORDINGS).format(what=function.what, prose=function.tool.description.rstrip("."), given=given)
        others = [f.tool for f in known if f.tool.name != function.tool.name]
        listed = [function.tool, *rng.sample(others, k=rng.choice((0, 0, 1, 2)))]
        rng.shuffle(listed)
        yield Request(text, "tools", False, "functions", "MIT", tools=tuple(listed))
        if rng.random() < 0.8:
            listed = rng.sample(others, k=rng.choice((1, 1, 2)))
            yield Request(text, "none", False, "functions", "MIT", tools=tuple(listed), strict=True)
