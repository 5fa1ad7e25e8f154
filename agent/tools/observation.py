"""What the model is told of a call: one line of JSON, shortened to a number of tokens where it is longer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from loraloop.agent.values.calls import CallRecord
from loraloop.tool_schemas.jsontext import dumps

_LINE_ENDS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}  # what JSON leaves as it is and some read as one
_SLICE = 50_000  # characters tokenized at once: a tokenizer's time may grow faster than its text
_COUNTED = 1_000_000  # characters that are counted; a longer text's tokens are estimated from these
_LONGEST = 32  # characters that the tokens of a text have at most, on average
_CLOSERS = {"[": "]", "{": "}"}


def observation(record: CallRecord) -> str:
    """The content of the tool message that tells the model what a call gave, in full."""
    head, payload = _parts(record)
    return f"{head}{payload}}}"


def shorten_result(record: CallRecord, limit: int, count: Callable[[str], int]) -> tuple[str, int]:
    """The observation within a number of tokens, and how many were left out.

    The beginning of the result is kept, and a marker says how much is missing: in a text that was cut, or as a last
    item or property. What is left is valid JSON with the structure that it had.

    Args:
        record: The call.
        limit: Tokens of the whole content. Where not even the marker fits, the marker is all there is.
        count: Tokens of a text.
    """
    full = observation(record)
    whole = _counted(full, count)
    if whole <= limit:
        return full, 0
    head, payload = _parts(record)
    estimated = len(payload) > _COUNTED

    def cut(length: int) -> tuple[str, int]:
        kept = count(f"{head}{cut_json(payload, length, '')}}}")
        left = max(whole - kept, 1)
        marker = f"… ({'about ' if estimated else ''}{left} tokens left out)"
        return f"{head}{cut_json(payload, length, marker)}}}", left

    # The length is found by halving, from where no more than a few times the wanted tokens are looked at.
    low, high = 0, max(min(len(payload), limit), 1)
    while high < len(payload) and count(cut(high)[0]) <= limit:
        low, high = high, min(high * 2, len(payload))
    while high - low > max(low // 64, 1):
        middle = (low + high) // 2
        low, high = (middle, high) if count(cut(middle)[0]) <= limit else (low, middle)
    return cut(low)


def without_rest(record: CallRecord, limit: int) -> CallRecord:
    """The record, of a result that was shortened only the beginning, which holds all that the model was shown.

    Args:
        record: The call.
        limit: The most tokens of a result that the model is shown.
    """
    most = limit * _LONGEST
    if not record.left_out:
        return record
    if record.error is not None:
        return replace(record, error=record.error[:most])
    return replace(record, result=json.loads(cut_json(dumps(record.result), most, "")))


def cut_json(text: str, length: int, marker: str) -> str:
    """The beginning of a JSON text, closed so that it is valid JSON again.

    Args:
        text: Compact JSON.
        length: Characters to look at; a few less are kept where the cut would fall into a key, a number or an escape.
        marker: What stands where something is missing; empty for nothing.
    """
    stack: list[str] = []  # the brackets that are open
    safe, began = 0, True  # the last place between values, and whether its container is empty there
    in_text = in_key = key_next = False
    at, end = 0, min(length, len(text))
    while at < end:
        char = text[at]
        if in_text:
            size = 6 if text[at : at + 2] == "\\u" else 2 if char == "\\" else 1
            if at + size > end:
                break
            at += size
            if char == '"':
                in_text = False
                if not in_key:
                    safe, began = at, False
            continue
        at += 1
        if char == '"':
            in_text, in_key, key_next = True, key_next, False
        elif char in "[{":
            stack.append(char)
            key_next = char == "{"
            safe, began = at, True
        elif char in "]}":
            stack.pop()
            safe, began = at, False
        elif char == ",":
            safe, began = at - 1, False
            key_next = bool(stack) and stack[-1] == "{"
    if in_text and not in_key:
        inner = dumps(marker)[1:-1]
        return text[:at] + inner + '"' + _closed(stack)
    if at >= len(text):
        return text
    if not safe:
        return dumps(marker)
    if not marker or not stack:
        return text[:safe] + _closed(stack)
    entry = dumps(marker) if stack[-1] == "[" else f'"…":{dumps(marker)}'
    return text[:safe] + ("" if began else ",") + entry + _closed(stack)


def _closed(stack: list[str]) -> str:
    return "".join(_CLOSERS[bracket] for bracket in reversed(stack))


def _parts(record: CallRecord) -> tuple[str, str]:
    """The JSON text up to the result or error, and that itself."""
    kind = "result" if record.error is None else "retry" if record.retry else "error"
    payload = record.result if record.error is None else record.error
    edited = "" if record.wanted is None else f',"arguments":{dumps(record.arguments)}'
    head = f'{{"name":{dumps(record.name)}{edited},"{kind}":'
    return head, dumps(payload).translate(_LINE_ENDS)


def _counted(text: str, count: Callable[[str], int]) -> int:
    """Tokens of a text; estimated where it is very long."""
    looked = text[:_COUNTED]
    tokens = sum(count(looked[at : at + _SLICE]) for at in range(0, len(looked), _SLICE))
    return tokens if len(text) <= _COUNTED else tokens * len(text) // _COUNTED
