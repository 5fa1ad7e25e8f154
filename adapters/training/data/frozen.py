"""Frozen records: data that is part of this package, and records of public sets that are rebuilt from a folder.

A file `recipes/data/NAME.jsonl.zst` holds records that were written for this project. A file `NAME.public.jsonl.zst`
holds records that stand on public texts. It names those by file and id, and its records are rebuilt from the folder
that holds the public sets: wherever a value comes from them, it says `{"$": [[source, node], …]}` instead. `unsaid`
holds the places of arguments that its call lacks. A row with `steps` is a conversation of several records: each step
has fields of its own, and `at` says how many messages stand before it. `recipes/data/README.md` describes the files.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from loraloop.tool_schemas.errors import InputError, unknown

ENDING = ".jsonl.zst"
PUBLIC = ".public"
Row = dict[str, Any]


def frozen_names() -> tuple[str, ...]:
    """The names of the frozen files, with those of public records ending in `.public`."""
    folder = files("loraloop.recipes") / "data"
    if not folder.is_dir():
        return ()
    return tuple(sorted(f.name.removesuffix(ENDING) for f in folder.iterdir() if f.name.endswith(ENDING)))


def frozen_rows(name: str, public: Path | None = None) -> Iterator[tuple[int, Row]]:
    """Yields (number, record) for each record of a frozen file.

    A rebuilt record also holds `source` and `license`, those of the first public text that it stands on.

    Args:
        name: One of `frozen_names()`.
        public: The folder of the public sets; needed for names that end in `.public`.

    Raises:
        UnknownNameError: There is no such file.
        InputError: The public sets are needed and not given, or lack what the records stand on.
    """
    if name not in (known := frozen_names()):
        raise unknown("frozen data", name, known)
    if name.endswith(PUBLIC) and public is None:
        raise InputError(f"{name} stands on public data sets: give the folder that holds them with --data")
    sets = PublicSets(public) if public is not None else None
    for line, row in enumerate(_rows(name), 1):
        yield line, sets.rebuilt(row) if sets is not None and "from" in row else dict(row)


def unfolded(row: Row) -> Iterator[Row]:
    """The records of a row: itself, or one for each of its steps."""
    if "steps" not in row:
        yield row
        return
    shared = {key: value for key, value in row.items() if key not in ("steps", "messages")}
    for step in row["steps"]:
        own = {key: value for key, value in step.items() if key != "at"}
        yield {**own, "messages": row["messages"][: step["at"]], **shared}


@lru_cache(maxsize=1)
def _rows(name: str) -> tuple[Row, ...]:
    """The records of the file that was read last, since sources of a recipe share a file."""
    import zstandard

    packed = (files("loraloop.recipes") / "data" / f"{name}{ENDING}").read_bytes()
    text = zstandard.ZstdDecompressor().decompress(packed).decode("utf-8")
    collects = gc.isenabled()
    gc.disable()  # to walk through all that was read, again and again, takes four times as long as to read it
    try:
        return tuple(each for line in text.splitlines() for each in unfolded(json.loads(line)))
    finally:
        if collects:
            gc.enable()


@lru_cache(maxsize=64)
def read_records(path: Path) -> tuple[Row, ...]:
    """The records of a JSON Lines file, in file order.

    Raises:
        InputError: The file is not there.
    """
    if not path.is_file():
        raise InputError(f"no data file {path}: pass the folder that holds tools/, code/, retrieval/ and safety/")
    with path.open(encoding="utf-8") as lines:
        return tuple(json.loads(line) for line in lines if line.strip())


class PublicSets:
    """A folder of public data sets, whose records are found by file and id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._by_id: dict[str, dict[str, Row]] = {}

    def record(self, key: str) -> Row:
        """The public record `file#id`.

        Raises:
            InputError: The file or the record is not in the folder.
        """
        name, _, identity = key.partition("#")
        if name not in self._by_id:
            records = read_records(self.folder / f"{name}.jsonl")
            self._by_id[name] = {str(record["id"]): record for record in records}
        if identity not in self._by_id[name]:
            raise InputError(f"{self.folder}/{name}.jsonl has no record {identity}: it is another version of that set")
        return self._by_id[name][identity]

    def rebuilt(self, row: Mapping[str, Any]) -> Row:
        """A record with the public texts put back where it names them."""
        records = [self.record(key) for key in row["from"]]
        nodes = [list(nodes_of(record)) for record in records]
        first = records[0]
        named = {"source": short_source(first["source"]), "license": first["license"]}
        made = named | {name: _filled(value, nodes) for name, value in row.items() if name != "from"}
        if "unsaid" in made:
            made["calls"] = _lacking(made["calls"], made.pop("unsaid"), made["tools"])
        return made


def short_source(text: str) -> str:
    """A source's name without the place in it: a repository, or `PyPI` and a package."""
    words = text.split(" ")
    return " ".join(words[:2]) if words[0] == "PyPI" else words[0]


def nodes_of(value: Any) -> Iterator[Any]:
    """Texts, lists and objects of a JSON value, outer ones before inner ones: a node's number is its place here."""
    if isinstance(value, str | list | dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes_of(inner)


def _lacking(calls: Sequence[Row], places: Sequence[int], tools: Sequence[Row]) -> list[Row]:
    """A call without the arguments at some places, with null where its tool requires them."""
    (call,) = calls
    required = next(tool["parameters"] for tool in tools if tool["name"] == call["name"]).get("required", ())
    arguments = {
        name: value if place not in places else None
        for place, (name, value) in enumerate(call["arguments"].items())
        if place not in places or name in required
    }
    return [{"name": call["name"], "arguments": arguments}]


def _filled(value: Any, nodes: Sequence[Sequence[Any]]) -> Any:
    if isinstance(value, list):
        return [_filled(inner, nodes) for inner in value]
    if not isinstance(value, dict):
        return value
    if value.keys() != {"$"}:
        return {name: _filled(inner, nodes) for name, inner in value.items()}
    parts = [part if isinstance(part, str) else _part(part, nodes) for part in value["$"]]
    return parts[0] if len(parts) == 1 else "".join(parts)


def _part(part: Sequence[int], nodes: Sequence[Sequence[Any]]) -> Any:
    """The value that `[source, node]` names, or of a text the slice that `[source, node, start, end]` names."""
    source, node, *span = part
    found = nodes[source][node]
    return found[span[0] : span[1]] if span else found
