"""What the gate is asked: messages that are known to be safe or unsafe, from files or from our own validation split."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloop.tool_schemas.errors import InputError

if TYPE_CHECKING:
    from loraloop.adapters.base.messages import Message


@dataclass(frozen=True, slots=True)
class Case:
    """One message to judge, with what stands before it.

    Attributes:
        id: Unique among the cases.
        file: The file's name without ending, or the kind of a validation example.
        text: The message's words.
        messages: The transcript; its last message is judged.
        unsafe: What it is.
        category: As its source names it.
    """

    id: str
    file: str
    text: str
    messages: tuple[Message, ...]
    unsafe: bool
    category: str = ""


def file_cases(files: Sequence[Path], limit: int | None = None, seed: int = 0) -> list[Case]:
    """Cases of files of JSON Lines with `text` and `label` (`safe` or `unsafe`); each text is the only message.

    Args:
        files: In the data page's form.
        limit: Most cases of each file: the first ones.
        seed: Any but 0 takes others, always the same.

    Raises:
        InputError: a file or a line cannot be read; with file and line.
    """
    cases: list[Case] = []
    for file in files:
        part = list(_cases(file))
        if seed:
            random.Random(f"{seed} {file.name}").shuffle(part)
        cases += part[:limit]
    if len({case.id for case in cases}) != len(cases):
        raise InputError(f"ids repeat in {', '.join(file.name for file in files)}: give each text an id of its own")
    return cases


def validation_cases(data: Path, limit: int, seed: int = 0) -> list[Case]:
    """Cases of the validation part of the training files: public texts and made pairs that no training has seen.

    Args:
        data: The data folder.
        limit: How many.
        seed: Of the draw.

    Raises:
        InputError: a training file is missing.
    """
    from loraloop.adapters.training.data.shipped import load_examples

    examples = load_examples("safety", data, "valid", limit, seed)
    return [
        Case(f"{k}-{e.id}", e.kind, e.gold["text"], e.messages, e.gold["unsafe"], e.gold["category"])
        for k, e in enumerate(examples)
    ]


def _cases(file: Path) -> Iterator[Case]:
    from loraloop.adapters.base.messages import Message

    name = file.name.removesuffix(".jsonl").removesuffix(".eval")
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        record = _record(line, f"{file}:{number}")
        text = record["text"]
        identity = str(record.get("id", f"{name}-{number}"))
        unsafe = record["label"] == "unsafe"
        yield Case(identity, name, text, (Message("user", text),), unsafe, str(record.get("category", "")))


def _record(line: str, where: str) -> Mapping[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where} is not JSON ({error}): write one object a line") from None
    if not isinstance(record, dict) or not isinstance(record.get("text"), str) or not record["text"].strip():
        raise InputError(f"{where}: a judged text is an object with `text` and `label`")
    if record.get("label") not in ("safe", "unsafe"):
        raise InputError(f"{where}: the label is {record.get('label')!r}; use 'safe' or 'unsafe'")
    return record
