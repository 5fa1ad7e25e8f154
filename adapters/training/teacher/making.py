"""Records made from others: a teacher's completions of their requests, or preferences from a skill's own outputs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from loraloop.adapters.atomic_write import write_text
from loraloop.adapters.base.messages import Message
from loraloop.adapters.training.data.example import instructions_of
from loraloop.adapters.training.data.record import Record
from loraloop.adapters.training.scoring.score import Runs, right
from loraloop.tool_schemas.errors import InputError, file_errors

PAIRS = 2
"""Most preference pairs of one transcript."""
Row = dict[str, Any]


def taught(
    records: Sequence[Record], write: Callable[[Sequence[Sequence[Message]]], list[str]]
) -> tuple[list[Row], int]:
    """The records with a teacher's completions in place of their own, and how many are left out.

    Args:
        records: Records whose completions do not matter.
        write: Writes a completion of each transcript; an empty one leaves the record out.
    """
    transcripts = _distinct(records)
    written = write([record.inlined().messages for record in transcripts])
    pairs = zip(transcripts, written, strict=True)
    rows = [{**_row(record), "completion": text} for record, text in pairs if text.strip()]
    return rows, len(transcripts) - len(rows)


def preferences(
    records: Sequence[Record],
    write: Callable[[Sequence[Sequence[Message]], int, Callable[[], None]], list[list[str]]],
    samples: int = 4,
    runs: Runs | None = None,
    done: Callable[[], None] = lambda: None,
) -> list[Row]:
    """Preference records: of each transcript a right and a wrong output of a skill, at most two pairs.

    An output is right by the rule of its contract, of text if it equals the record's completion. Where none is
    right, the record's completion stands for it; where none is wrong, there is nothing to learn.

    Args:
        records: Records whose completions are known to be right.
        write: Has the skill write outputs, given the transcripts, how many of each, and `done`.
        samples: Outputs of each transcript.
        runs: How programs are run, for code with tests.
        done: Called after each transcript.
    """
    transcripts = _distinct(records)
    written = write([record.inlined().messages for record in transcripts], samples, done)
    rows: list[Row] = []
    for record, texts in zip(transcripts, written, strict=True):
        hits = {text: right(record, text, runs) for text in dict.fromkeys(texts) if text.strip()}
        good = [text for text, hit in hits.items() if hit] or [record.completion]
        bad = [text for text, hit in hits.items() if not hit][:PAIRS]
        rows += [{**_row(record), "chosen": good[at % len(good)], "rejected": text} for at, text in enumerate(bad)]
    return rows


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Writes JSON Lines, whole or not at all.

    Raises:
        InputError: there is nothing to write, or no place.
    """
    if not rows:
        raise InputError("no example gave a record: nothing was written")
    with file_errors(f"cannot write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _distinct(records: Sequence[Record]) -> list[Record]:
    return list({record.key: record for record in records}.values())


def _row(record: Record) -> Row:
    """The record's context in the form that the readers take: the tools stand beside the instructions."""
    row: Row = {"messages": [{"role": message.role, "content": message.content} for message in record.messages]}
    if record.tools:
        row |= {"instructions": instructions_of(row["messages"].pop(0)["content"]), "tools": list(record.tools)}
    if record.passages:
        row["passages"] = [{"id": p.id, "text": p.text, "title": p.title} for p in record.passages]
    row |= {key: value for key in ("extra_prompt", "part") if (value := getattr(record, key))}
    return {**row, **{key: record.gold[key] for key in ("accepts", "tests", "answers") if key in record.gold}}
