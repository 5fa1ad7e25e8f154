"""Files of records: JSON Lines, JSON, CSV and Parquet, each record with its line."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterator
from glob import escape
from pathlib import Path
from typing import Any

from loraloop.adapters.training.data.record import RecordError
from loraloop.tool_schemas.errors import InputError, needing, unknown
from loraloop.tool_schemas.jsontext import loads_or

LINE_BYTES = 2**20
"""Bytes of one record beyond which it is not read: a transcript that long fits no base."""
TEXTS = (
    *("text", "label", "instruction", "input", "output", "question", "answer", "request", "prompt", "completion"),
    *("response", "chosen", "rejected", "instructions", "extra_prompt", "system", "tests"),
)
"""Keys of records whose values are texts, also where a text looks like JSON."""
KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


def read_rows(path: Path, texts: Collection[str] = TEXTS) -> Iterator[tuple[int, dict[str, Any] | RecordError]]:
    """Yields (line, record) for each record of a file; what cannot be read is an error in its place.

    For Parquet the line is the row, counted from 1. A file is read record by record, so its size does not matter,
    except of a `.json` file.

    Args:
        path: The file.
        texts: Columns of a table whose cells are texts; in others, a list or an object is read as JSON.

    Raises:
        InputError: the file is missing, a folder, of an unknown kind, or not of the kind that its name says.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the files in it")
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise unknown("kind of data file", kind or path.name, KINDS)
    if kind in (".csv", ".tsv"):
        yield from _table(path, "\t" if kind == ".tsv" else ",", texts)
    elif kind == ".parquet":
        yield from _parquet(path, texts)
    elif kind == ".json":
        yield from _document(path)
    else:
        yield from _lines(path)


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | RecordError]]:
    """JSON Lines, by line breaks alone; a line over the limit is passed over without being held in memory."""
    with path.open("rb") as file:
        line = 0
        while raw := file.readline(LINE_BYTES + 1):
            line += 1
            if len(raw) > LINE_BYTES:
                size = len(raw)
                while not raw.endswith(b"\n") and (raw := file.readline(LINE_BYTES)):
                    size += len(raw)
                yield (
                    line,
                    RecordError("overlong line", f"the line has {size:,} bytes; at most {LINE_BYTES:,} are read"),
                )
            elif raw.strip():
                yield line, _parsed(raw, line == 1)


def _parsed(raw: bytes, first: bool) -> dict[str, Any] | RecordError:
    try:
        value = json.loads(raw.decode("utf-8-sig" if first else "utf-8"), parse_constant=_no_json)
    except UnicodeDecodeError as error:
        return RecordError("broken JSON", f"the line is not UTF-8 (byte {error.start})")
    except ValueError as error:
        return RecordError("broken JSON", f"the line is no JSON: {error}")
    except RecursionError:
        return RecordError("broken JSON", "the line is nested too deeply")
    return _mapping(value)


def _no_json(name: str) -> None:
    """Refuses NaN and infinities, which Python's reader takes: they stand where a value is missing."""
    raise ValueError(f"{name} is no JSON")


def _mapping(value: Any) -> dict[str, Any] | RecordError:
    if isinstance(value, dict):
        return value
    return RecordError("broken JSON", f"a record is a JSON object, not {type(value).__name__}")


def _document(path: Path) -> Iterator[tuple[int, dict[str, Any] | RecordError]]:
    """A JSON list of records; each one's line is found by decoding them one after another."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start})") from None
    decoder, at = json.JSONDecoder(parse_constant=_no_json), 0
    start = len(text) - len(text.lstrip())
    if text[start : start + 1] != "[":
        raise InputError(f"{path}: a .json file of records is a JSON list; name files with one record a line .jsonl")
    at, line, counted = start + 1, 1, 0
    while True:
        while text[at : at + 1] in (" ", "\t", "\r", "\n", ","):
            at += 1
        line += text.count("\n", counted, at)
        counted = at
        if text[at : at + 1] in ("]", ""):
            if at >= len(text):
                yield line, RecordError("broken JSON", "the list is not closed: the file may have been cut off")
            elif text[at + 1 :].strip():
                yield line, RecordError("broken JSON", "something follows the list: give one list a file")
            return
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            yield line, RecordError("broken JSON", f"no JSON from here on: {error or 'nested too deeply'}")
            return
        size = end - at
        yield line, _mapping(value) if size <= LINE_BYTES else RecordError("overlong line", f"{size:,} characters")
        at = end


def _table(path: Path, separator: str, texts: Collection[str]) -> Iterator[tuple[int, dict[str, Any] | RecordError]]:
    csv.field_size_limit(LINE_BYTES)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter=separator, strict=True)
        line = 1
        try:
            header = next(rows, [])
            if not header or len(set(header)) != len(header):
                raise InputError(f"{path}:1: the first line of a table must name its columns, each once")
            while True:
                line = rows.line_num + 1
                row = next(rows, None)
                if row is None:
                    return
                if not row:  # an empty line
                    continue
                if len(row) != len(header):
                    yield line, RecordError("broken row", f"the row has not the {len(header)} columns of the first one")
                    continue
                yield line, _cells(dict(zip(header, row, strict=True)), texts)
        except csv.Error as error:
            yield line, RecordError("broken row", f"no CSV from here on: {error}")
        except UnicodeDecodeError as error:
            yield line, RecordError("broken row", f"not UTF-8 from here on (byte {error.start})")


def _cells(row: dict[str, Any], texts: Collection[str]) -> dict[str, Any]:
    """A row of a table, with the lists and objects that are JSON in its cells; not in those of texts."""
    return {
        name: loads_or(cell, cell) if isinstance(cell, str) and cell[:1] in ("[", "{") and name not in texts else cell
        for name, cell in row.items()
    }


def _parquet(path: Path, texts: Collection[str]) -> Iterator[tuple[int, dict[str, Any] | RecordError]]:
    with needing(f"{path} needs the datasets package", "'loraloop[data]'"):
        from datasets import load_dataset
    try:
        rows = load_dataset("parquet", data_files=escape(str(path)), split="train", streaming=True)
        for index, row in enumerate(rows):
            yield index + 1, _cells(row, texts)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from None
