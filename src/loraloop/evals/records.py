"""What an evaluation asks: records of data files, in the forms of public sets or in those that people keep data in."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from loraloop.adapters.base.prompting import CALLS_HEADER
from loraloop.adapters.training.data.record import Record, RecordPlace
from loraloop.tool_schemas.errors import InputError, LoraloopError

if TYPE_CHECKING:
    from loraloop.adapters.base.messages import Message

T = TypeVar("T")
CATEGORIES = ("simple_python", "multiple", "parallel", "parallel_multiple", "irrelevance")
"""Categories of the Berkeley Function-Calling Leaderboard, which its records name."""


def evenly(items: Sequence[T], most: int | None) -> list[T]:
    """The items; where there are more than `most`, so many of them, spread evenly."""
    count = len(items) if most is None else min(most, len(items))
    return [items[place * len(items) // count] for place in range(count)]


def data_files(kind: str, data: Sequence[Path]) -> list[Path]:
    """The files that an evaluation reads.

    Args:
        kind: Folder of the data page: `tools`, `code`, `retrieval`, `safety`.
        data: Files, and folders: of a folder with one of that kind in it, its `.eval.jsonl` files, but for those whose
            records name another `task`; of any other its `.eval.jsonl` files, or all its `.jsonl` files.

    Raises:
        InputError: there is no such file or folder, or nothing in one of them.
    """
    found: dict[Path, Path] = {}
    for path in data:
        if path.is_file():
            files = [path]
        elif (inside := path / kind).is_dir():
            files = [file for file in sorted(inside.glob("*.eval.jsonl")) if _task(file, kind) == kind]
        elif path.is_dir():
            files = sorted(path.glob("*.eval.jsonl")) or sorted(path.glob("*.jsonl"))
        else:
            raise InputError(f"there is no {path}: --data takes files, and folders of them")
        if not files:
            raise InputError(f"no evaluation files of {kind} in {path}: name a file, or the folder")
        found |= {file.resolve(): file for file in files if file.resolve() not in found}
    return list(found.values())


def _task(file: Path, usual: str) -> str:
    """The task that a file's first record names; `usual` where it names none or cannot be read."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        try:
            row = json.loads(next(lines, ""))
        except ValueError:
            return usual
    return str(row.get("task", usual)) if isinstance(row, dict) else usual


def limited(files: Sequence[Path], limit: int | None, seed: int) -> Iterator[tuple[Path, int, dict[str, Any]]]:
    """(file, line, record) of what is asked.

    Args:
        files: JSON Lines, JSON, CSV or Parquet.
        limit: Most records, spread evenly over the files; the first of each.
        seed: Any but 0 takes others instead, always the same.

    Raises:
        InputError: a file or a record cannot be read.
    """
    from loraloop.adapters.training.data.reading import read_rows
    from loraloop.adapters.training.data.record import RecordError

    left = limit
    for place, file in enumerate(files):
        rows = []
        for line, row in read_rows(file):
            if isinstance(row, RecordError):
                raise InputError(f"{file}:{line}: {row.reason}")
            rows.append((file, line, row))
        if seed:
            random.Random(f"{seed} {file.name}").shuffle(rows)
        share = len(rows) if left is None else min(len(rows), -(-left // (len(files) - place)))
        left = None if left is None else left - share
        yield from rows[:share]


def examples(
    skill: str,
    files: Sequence[Path],
    limit: int | None = None,
    seed: int = 0,
    header: str = CALLS_HEADER,
    beside: Sequence[Mapping[str, Any]] = (),
) -> list[Record]:
    """Examples of a skill, each with an id of its own; see `limited`.

    Args:
        skill: `tools`, `code`, `retrieval`, `safety` or `verdict`.
        files: What is asked.
        limit: Most records.
        seed: Any but 0 takes others.
        header: Stands above the base's lists of tools.
        beside: Tools that are listed for a record that has none of its own.

    Raises:
        InputError: a file or a record cannot be read, with its line; or there is none.
    """
    found: list[Record] = []
    seen: dict[str, int] = {}
    for file, line, row in limited(files, limit, seed):
        try:
            row = {"tools": list(beside), **row} if beside else row
            example = _example(skill, row, RecordPlace(file.name, line), header)
        except LoraloopError as error:
            raise InputError(f"{file}:{line}: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise InputError(f"{file}:{line}: the record has not the form of {skill}: {error!r}") from None
        seen[example.id] = count = seen.get(example.id, 0) + 1
        found.append(example if count == 1 else replace(example, id=f"{example.id}#{count}"))
    if not found:
        raise InputError(f"no records in {', '.join(map(str, files))}")
    return found


VALIDATION = {
    "tools": ("worlds",),
    "retrieval": ("documents", "worlds_documents"),
    "safety": ("safety", "worlds_safe"),
    "verdict": ("verdicts",),
}
"""Frozen records that choose a skill's threshold where no others are given, by skill."""
JUDGES = {"safety": "verdict", "verdict": "agreement"}
"""The contracts of skills that judge a text, by skill."""


def validation_examples(skill: str, limit: int | None = None, header: str = CALLS_HEADER) -> list[Record]:
    """The records of this package that choose a skill's threshold.

    Args:
        skill: `tools`, `retrieval`, `safety` or `verdict`.
        limit: Most records, spread evenly.
        header: Stands above the base's lists of tools.

    Raises:
        InputError: There are none for this skill.
    """
    from loraloop.adapters.training.data.frozen import frozen_rows
    from loraloop.adapters.training.data.readers import Reading, records_of

    if skill not in VALIDATION:
        raise InputError(f"no validation records of {skill} come with loraloop: give some with --data")
    every = [
        (RecordPlace(name, line), row)
        for name in VALIDATION[skill]
        for line, row in frozen_rows(name)
        if row.get("part") == "valid"
    ]
    rows = evenly(every, limit)
    if skill in JUDGES:
        how = Reading(JUDGES[skill], turns="last", header=header)
        return [record for place, row in rows for record in records_of(row, how, place)]
    return [_example(skill, row, place, header) for place, row in rows]


def _example(skill: str, row: Mapping[str, Any], place: RecordPlace, header: str) -> Record:
    if skill == "tools" and row.get("accepts") is not None:
        _check_accepts(row["accepts"])
    from loraloop.adapters.skill.contracts import ANSWER_LENGTH
    from loraloop.adapters.training.data.example import CONTRACTS
    from loraloop.adapters.training.data.readers import Reading, records_of

    answer = row.get("answer")
    if skill == "retrieval" and isinstance(answer, str) and len(answer) > ANSWER_LENGTH:
        row = {**row, "answer": answer[:ANSWER_LENGTH], "answers": row.get("answers") or [answer]}
    if skill == "retrieval" and row.get("title") and isinstance(row["passages"][0], dict):
        first, *others = row["passages"]  # a record's title is that of its first passage
        row = {**row, "passages": [{**first, "title": first.get("title") or row["title"]}, *others]}
    contract = JUDGES.get(skill) or CONTRACTS[skill]
    record = next(records_of(row, Reading(contract, turns="last", header=header), place))
    name = re.sub(r"\W+", "_", place.file.removesuffix(".jsonl").removesuffix(".eval")) or "record"
    kind = str(row.get("kind") or "record")
    if skill == "tools":
        kind = ("none", "single", "several")[min(2, len(record.gold["calls"]))]
    gold = dict(record.gold)
    if row.get("category") in CATEGORIES:
        gold["category"] = row["category"]
    identity = str(row.get("id", place.line)).removeprefix(f"{name}-")
    shown = record if skill in JUDGES else record.inlined()
    return replace(shown, id=f"{name}-{identity}", kind=kind, gold=gold)


def _check_accepts(accepts: Any) -> None:
    fits = isinstance(accepts, list) and all(
        isinstance(wanted, dict)
        and len(wanted) == 1
        and all(isinstance(named, dict) for named in wanted.values())
        and all(isinstance(values, list) for named in wanted.values() for values in named.values())
        for wanted in accepts
    )
    if not fits:
        raise InputError('accepts is a list of {"function": {"argument": [accepted values]}}, one for each call')


@dataclass(frozen=True, slots=True)
class JudgedText:
    """One text whose safety is known.

    Attributes:
        id: Unique.
        file: The file's name without ending.
        text: The text.
        messages: The text as the only message.
        unsafe: What it is.
        category: As its source names it.
    """

    id: str
    file: str
    text: str
    messages: tuple[Message, ...]
    unsafe: bool
    category: str = ""


def judged_texts(files: Sequence[Path], limit: int | None = None, seed: int = 0) -> list[JudgedText]:
    """The judged texts of files of JSON Lines with `text` and `label` (`safe` or `unsafe`).

    Args:
        files: In the data page's form.
        limit: Most texts of each file: the first ones.
        seed: Any but 0 takes others, always the same.

    Raises:
        InputError: a file or a line cannot be read; with file and line.
    """
    from loraloop.adapters.base.messages import Message

    texts: list[JudgedText] = []
    for file in files:
        name = file.name.removesuffix(".jsonl").removesuffix(".eval")
        for _, line, row in limited([file], limit, seed):
            text, label = row.get("text"), row.get("label")
            if not isinstance(text, str) or not text.strip() or label not in ("safe", "unsafe"):
                raise InputError(
                    f"{file}:{line}: a judged text has `text` and a `label`, safe or unsafe, not {label!r}"
                )
            identity, category = str(row.get("id", f"{name}-{line}")), str(row.get("category", ""))
            messages, unsafe = (Message("user", text),), label == "unsafe"
            texts.append(JudgedText(identity, name, text, messages=messages, unsafe=unsafe, category=category))
    if len({each.id for each in texts}) != len(texts):
        raise InputError(f"ids repeat in {', '.join(file.name for file in files)}: give each text an id of its own")
    return texts
