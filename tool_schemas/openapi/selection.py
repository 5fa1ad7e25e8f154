"""Which operations of an OpenAPI document become tools: patterns, and a report of what was left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

from loraloop.tool_schemas.errors import SchemaError, unknown
from loraloop.tool_schemas.openapi.document import OpenApiDocument, Parts
from loraloop.tool_schemas.schema.places import json_path

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_LONGEST = 64  # characters of a tool's name that other clients and models accept


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a document.

    Attributes:
        method: Upper case.
        path: As the document writes it.
        node: The operation.
        item: Path item of the operation.
        parts: The path to it in the document.
        name: The tool's name.
        problem: Why the path item cannot be read; the method is ``ANY`` then.
    """

    method: str
    path: str
    node: dict[str, Any] = field(repr=False)
    item: dict[str, Any] = field(repr=False)
    parts: Parts
    name: str = ""
    problem: SchemaError | None = None

    @property
    def identifier(self) -> str:
        """The ``operationId``; empty if the operation has none."""
        name = self.node.get("operationId")
        return name if isinstance(name, str) else ""

    def matches(self, pattern: str) -> bool:
        """Whether a pattern means it.

        ``tag:NAME``; ``GET``, ``GET /pets/*`` and ``/pets/*`` (a ``*`` goes over slashes too); anything else is the
        operationId or the tool's name. All but methods may hold ``*`` and ``?``.
        """
        if pattern.startswith("tag:"):
            tags = self.node.get("tags", [])
            return isinstance(tags, list) and any(fnmatchcase(str(tag), pattern[4:].strip()) for tag in tags)
        first, _, rest = pattern.partition(" ")
        if first.lower() in METHODS and first.isupper():
            return first == self.method and (not rest.strip() or _globbed(self.path, rest.strip()))
        if pattern.startswith("/"):
            return _globbed(self.path, pattern)
        return fnmatchcase(self.identifier, pattern) or fnmatchcase(self.name, pattern)


@dataclass(frozen=True, slots=True)
class Omitted:
    """An operation that did not become a tool.

    Attributes:
        operation: Method and path.
        name: The name that its tool would have.
        why: ``"refused"`` (it cannot be translated), ``"deprecated"``, ``"excluded"`` or ``"not included"``.
        path: JSON path of the reason.
        reason: What cannot be translated, for a refused one.
    """

    operation: str
    name: str
    why: Literal["refused", "deprecated", "excluded", "not included"]
    path: str = ""
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.operation} ({self.name}): {self.why}" + (f", {self.path}: {self.reason}" if self.reason else "")


@dataclass(frozen=True, slots=True)
class OpenApiReport:
    """The report on a document's operations: loaded, left out or refused.

    Attributes:
        tools: For each tool's name, its method and path.
        omitted: The others.
    """

    tools: dict[str, str]
    omitted: tuple[Omitted, ...]

    @property
    def refused(self) -> tuple[Omitted, ...]:
        """Those that were asked for and cannot be translated."""
        return tuple(each for each in self.omitted if each.why == "refused")

    def __str__(self) -> str:
        return "\n".join(
            [*(f"{operation} ({name})" for name, operation in self.tools.items()), *map(str, self.omitted)]
        )


def operations(document: OpenApiDocument) -> list[Operation]:
    """All operations in the document's order, each with a name of its own.

    Raises:
        SchemaError: If the paths are no objects.
    """
    found: list[Operation] = []
    names: set[str] = set()
    same: dict[str, int] = {}  # the last number that each name was given
    for each in _listed(document):
        identifier, method = each.node.get("operationId"), each.method.lower()
        stem = identifier if isinstance(identifier, str) else f"{method}_{each.path}"
        stem = re.sub(r"_*[^A-Za-z0-9_-]+_*", "_", stem[: 4 * _LONGEST]).strip("_")[:_LONGEST] or method
        name, number = stem, same.get(stem, 1)
        while name in names:
            number += 1
            name = f"{stem[: _LONGEST - len(str(number)) - 1]}_{number}"
        names.add(name)
        same[stem] = number
        found.append(replace(each, name=name))
    return found


def _listed(document: OpenApiDocument) -> Iterator[Operation]:
    """All operations in the document's order, without names."""
    for path, entry in document.part("paths").items():
        if path.startswith("x-"):
            continue
        parts = ("paths", path)
        try:
            item, _ = document.followed(entry, parts)
        except SchemaError as error:
            yield Operation("ANY", path, {}, {}, (*parts, "any"), problem=error)
            continue
        item = {**item, **{key: value for key, value in entry.items() if key != "$ref"}}
        for method in METHODS:
            if method not in item:
                continue
            where = (*parts, method)
            if isinstance(item[method], dict):
                yield Operation(method.upper(), path, item[method], item, where)
            else:
                problem = SchemaError("must be an object", json_path(where))
                yield Operation(method.upper(), path, {}, {}, where, problem=problem)


def select(
    found: list[Operation], include: Iterable[str] | None, exclude: Iterable[str], deprecated: bool
) -> tuple[list[Operation], list[Omitted]]:
    """Parts the operations in those to translate and those to leave out.

    Args:
        found: All operations of the document.
        include: Patterns of the operations to take; None for all. See `Operation.matches`.
        exclude: Patterns of those to leave out, even if `include` names them too.
        deprecated: Whether operations that the document calls deprecated are taken.

    Returns:
        Those to translate, in their order, and the others with the reason.

    Raises:
        UnknownNameError: If a pattern means none of them.
    """
    wanted, unwanted = _patterns(include), _patterns(exclude) or ()
    for pattern in (*(wanted or ()), *unwanted):
        if not any(operation.matches(pattern) for operation in found):
            raise unknown("operation", pattern, [operation.identifier or operation.name for operation in found])
    kept, omitted = [], []
    for operation in found:
        why: Literal["refused", "deprecated", "excluded", "not included"] | None = None
        if wanted is not None and not any(operation.matches(pattern) for pattern in wanted):
            why = "not included"
        elif any(operation.matches(pattern) for pattern in unwanted):
            why = "excluded"
        elif operation.node.get("deprecated") is True and not deprecated:
            why = "deprecated"
        if why is None:
            kept.append(operation)
        else:
            omitted.append(Omitted(f"{operation.method} {operation.path}", operation.name, why))
    return kept, omitted


def _patterns(patterns: Iterable[str] | str | None) -> tuple[str, ...] | None:
    return None if patterns is None else (patterns,) if isinstance(patterns, str) else tuple(patterns)


def _globbed(path: str, pattern: str) -> bool:
    """Braces in paths stand for themselves."""
    return fnmatchcase(path, pattern.replace("[", "[[]"))
