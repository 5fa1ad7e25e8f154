"""Tools of dialogues: services' intents as tools, in one of several wordings, with or without their names."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a tool, or a field of a result.

    Attributes:
        name: In the words of the list that shows it.
        schema: Its type, without a description.
        description: What it is.
        form: How the value is written, for descriptions.
    """

    name: str
    schema: dict[str, Any]
    description: str = ""
    form: str = ""


@dataclass(slots=True)
class ShownTool:
    """A tool as a list shows it.

    Attributes:
        key: The source's name of it, which stays whatever the list calls it.
        name: In the words of the list.
        description: What it does.
        arguments: By the source's names, in the order of the schema.
        required: The source's names of those that are required.
        fields: The names of result fields, by the source's names.
        searches: Whether it only looks things up.
    """

    key: str
    name: str
    description: str
    arguments: dict[str, Argument]
    required: tuple[str, ...]
    fields: dict[str, str] = field(default_factory=dict)
    searches: bool = True

    @property
    def service(self) -> str:
        """The service that the tool is of."""
        return self.key.split(".")[0]

    def schema(self, described: bool, dates: str) -> dict[str, Any]:
        """The tool as records hold it.

        Args:
            described: Whether arguments have descriptions.
            dates: `format`, or `description`: where the form of a day is told.
        """
        properties = {}
        for argument in self.arguments.values():
            shown = dict(argument.schema)
            form = argument.form
            if form == "YYYY-MM-DD" and (dates == "format" or not described):
                shown["format"], form = "date", ""
            text = argument.description.rstrip(" .") if described else ""
            if form:
                text = f"{text} ({form})" if text else form
            properties[argument.name] = {**shown, "description": text} if text else shown
        required = [self.arguments[name].name for name in self.required]
        parameters = {"type": "object", "properties": properties, "required": required}
        return {"name": self.name, "description": self.description, "parameters": parameters}

    def call(self, values: dict[str, Any]) -> dict[str, Any]:
        """A call with values by the source's names, in the order of the schema."""
        arguments = {shown.name: values[name] for name, shown in self.arguments.items() if name in values}
        return {"name": self.name, "arguments": arguments}


def plain(name: str) -> str:
    """A name without case and marks, for comparing."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def words_of(name: str) -> list[str]:
    """The words of an identifier."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)] or [name.lower()]


def styled(name: str, style: str) -> str:
    """An identifier in `snake`, `camel` or `pascal` case."""
    words = words_of(name)
    if style == "snake":
        return "_".join(words)
    joined = "".join(word.capitalize() for word in words)
    return joined if style == "pascal" else words[0] + joined[len(words[0]) :]


def mask(tools: Sequence[ShownTool], rng: random.Random, names: bool, arguments: bool) -> None:
    """Replaces the names of tools, of arguments, or of both by names that say nothing."""
    tool_names = _neutral(("func_", "tool_", "f", "action_", "op_", "fn"), len(tools), rng)
    count = sum(len(tool.arguments) for tool in tools)
    argument_names = _neutral(("arg_", "param_", "p", "x", "field_", "in_"), count, rng)
    for tool in tools:
        if names:
            tool.name = next(tool_names)
        if arguments:
            tool.arguments = {
                key: Argument(next(argument_names), shown.schema, shown.description, shown.form)
                for key, shown in tool.arguments.items()
            }


def _neutral(stems: Sequence[str], count: int, rng: random.Random) -> Iterable[str]:
    """Names such as `func_3`, `arg_b` or `qzt_4`, each once, in random order."""
    stem = rng.choice([*stems, ""])
    if stem == "":
        made: set[str] = set()
        while len(made) < count:
            made.add(
                "".join(rng.choices(LETTERS, k=rng.randrange(3, 6))) + rng.choice(("", f"_{rng.randrange(1, 10)}"))
            )
        found = sorted(made)
    elif count <= len(LETTERS) and stem.endswith("_") and rng.random() < 0.5:
        found = [stem + letter for letter in LETTERS[:count]]
    else:
        start = rng.randrange(0, 40)
        found = [f"{stem}{number}" for number in range(start, start + count)]
    rng.shuffle(found)
    return iter(found)
