"""Receipts: what came of each call of a run, in plain words made from its record."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from loraloop.agent.values.calls import CallRecord, Deny

Status = Literal["done", "empty", "denied", "failed", "unknown"]
LONGEST = 600  # characters of a result or an error
DEPTH = 12  # levels of nested data that are told
_BEGINS: dict[Status, str] = {
    "done": "Done",
    "empty": "Done, and nothing was found",
    "denied": "Not done, because it was denied",
    "failed": "Not done, because it failed",
    "unknown": "It is not known whether this was done",
}


@dataclass(frozen=True, slots=True)
class Receipt:
    """The receipt of a call: what it did or why it did not run.

    Attributes:
        status: `done`; `empty`, where there is no result, or it holds nothing: an empty text or list, or an object of
            such, also with zeros beside an empty list; `denied`; `failed`, where the call ended in an error, or its
            result is an object with an `error`, or one whose `ok` or `success` is false; `unknown`, where the call
            began and nobody knows how it ended: it was late, or the run was interrupted.
        tool: The name of the tool.
        arguments: What it was called with, as JSON data.
        text: All of it in plain English, with the result or the error.
        id: The id of the call's record.
    """

    status: Status
    tool: str
    arguments: dict[str, Any]
    text: str
    id: str = ""


def receipt_of(record: CallRecord) -> Receipt:
    """The receipt of a call."""
    status = status_of(record)
    begins = _BEGINS[status]
    if record.error is None and status == "failed":
        begins = "It reported a failure"
    elif record.result is None and status == "empty":
        begins = "Done, and nothing came back"
    text = f"{begins}: {_words(record.name)}"
    if record.arguments:
        text += f" ({in_words(record.arguments)})"
    text += "."
    if record.error is not None:
        why = record.error.removeprefix(Deny().error).removeprefix(": ") if status == "denied" else record.error
        text += f" {'Reason' if status == 'denied' else 'Error'}: {_ended(_clipped(why))}" if why else ""
    elif status != "empty" and record.result is not None:
        text += f" Result: {_ended(_clipped(in_words(record.data)))}"
    return Receipt(status, record.name, record.arguments, text, record.id)


def receipts_of(records: Iterable[CallRecord]) -> tuple[Receipt, ...]:
    """The receipts of calls; one that only repeats another call has none."""
    return tuple(receipt_of(record) for record in records if not record.repeated)


def status_of(record: CallRecord) -> Status:
    """The status of a call, in a word."""
    if record.approval == "denied":
        return "denied"
    if record.error is not None:
        return "unknown" if record.at_least_once or (record.by_runtime and record.ms > 0) else "failed"
    data = record.data
    if _reports_failure(data):
        return "failed"
    return "empty" if _is_empty(data, record.arguments) else "done"


def in_words(value: Any, depth: int = DEPTH) -> str:
    """JSON data as text: `to: Ann, euros: 50`; lists say how many they hold; what is nested deeper is `…`.

    Of an object or a list no more than `LONGEST` items are told.
    """
    if isinstance(value, Mapping | list | tuple) and not depth:
        return "…"
    if isinstance(value, Mapping):
        return ", ".join(
            f"{_words(str(name))}: {in_words(item, depth - 1)}" for name, item in islice(value.items(), LONGEST)
        )
    if isinstance(value, list | tuple):
        inner = [(in_words(item, depth - 1), isinstance(item, Mapping)) for item in value[:LONGEST]]
        words = "; ".join(f"({text})" if bracketed else text for text, bracketed in inner)
        return f"{len(value)} {'item' if len(value) == 1 else 'items'}{': ' if words else ''}{words}"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return str(value)


def _reports_failure(result: Any) -> bool:
    """Whether an object says that it is an error; a number called `error` is a measure."""
    if not isinstance(result, Mapping):
        return False
    error = result.get("error")
    named = error is True or (isinstance(error, str | Mapping) and bool(error))
    return named or any(result.get(name) is False for name in ("ok", "success"))


def _is_empty(result: Any, arguments: Mapping[str, Any]) -> bool:
    """Whether a result holds nothing. Beside an empty list, zeros and what the call was given count as nothing."""
    if not isinstance(result, Mapping):
        return _is_nothing(result)
    beside = [0, *arguments.values()] if any(isinstance(each, list) for each in result.values()) else []
    return all(
        _is_nothing(each) or (isinstance(each, str | int | float) and each in beside) for each in result.values()
    )


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str | list | dict) and not value)


def _words(name: str) -> str:
    return re.sub(r"[_.]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)).strip()


def _clipped(text: str) -> str:
    line = " ".join(text.split(None, LONGEST)[:LONGEST])  # of a long text no more than is told
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."
