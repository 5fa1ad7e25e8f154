"""Whether a turn ended as its task says, and if not, why: in words that a program can count."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from loraloop.evals.held_out_requests import BY_NAME
from loraloop.evals.tasks import Call, End, Said, Task

Runs = Callable[[str], bool]
"""Runs a Python program in a sandbox; whether it ended without an error."""
REASONS = (
    "no_call", "missing_call", "extra_call", "wrong_tool", "wrong_arguments", "wrong_order", "called", "refused",
    "not_refused", "limit", "wrong_kind", "no_answer", "value_missing", "made_up", "no_question", "not_cited",
    "wrong_citation", "no_program", "tests_failed",
)  # fmt: skip
"""Every reason for which a turn can fail."""
_ASKING = re.compile(
    r"\b(please|need|provide|specify|tell me|let me know|could you|can you|what is|which|missing|enter)\b"
)
_PLEASANTRY = re.compile(r"\b(anything else|how (can|may) i|can i help|may i help|help you)\b")


def failure(turn: End, said: Said, runs: Runs) -> str:
    """Why a turn failed, one of `REASONS`; empty if it ended right.

    Args:
        turn: How it should end.
        said: What was done.
        runs: How programs are run.
    """
    if turn.kind == "refused":
        return "" if said.stop == "refused" else "called" if said.stages else "not_refused"
    if said.stop == "refused":
        return "refused"
    if wrong := calls_failure(turn.calls, said.stages):
        return calls_failure(turn.calls, said.tried) or wrong
    if turn.kind == "code":
        return _code_failure(turn, said, runs)
    if said.stop not in ("answer", "max_tokens"):
        return "limit" if said.kind == "other" else "wrong_kind"
    if turn.kind == "cited":
        return _cited_failure(turn, said)
    if said.kind != "text":
        return "wrong_kind"
    if not _worded(said.output):
        return "no_answer"
    if turn.kind == "ask":
        return "" if asks_for(said.output, turn.any_of) else "no_question"
    if any(names(said.output, value) for value in turn.never):
        return "made_up"
    named = all(names(said.output, value) for value in turn.says)
    return "" if named else "value_missing"


def calls_failure(wanted: Sequence[Sequence[Call]], made: Sequence[Sequence[Call]]) -> str:
    """Why calls are wrong; empty if they are those that are wanted, in an order that the stages allow."""
    given = [_canonical(call) for call in chain.from_iterable(made)]
    stages = [[_canonical(call) for call in stage] for stage in wanted]
    flat = [*chain.from_iterable(stages)]
    if not flat:
        return "called" if given else ""
    if not given:
        return "no_call"
    if sorted(given) == sorted(flat):
        place = 0
        for stage in stages:
            if sorted(given[place : place + len(stage)]) != sorted(stage):
                return "wrong_order"
            place += len(stage)
        return ""
    names_given, names_wanted = ([json.loads(call)[0] for call in calls] for calls in (given, flat))
    if sorted(names_given) == sorted(names_wanted):
        return "wrong_arguments"
    if set(names_given) - set(names_wanted):
        return "wrong_tool"
    return "extra_call" if len(given) > len(flat) else "missing_call"


def names(text: str, value: str) -> bool:
    """Whether a text names a value: as a word of its own, numbers also with other decimals of the same amount."""
    if re.fullmatch(r"-?\d+(\.\d+)?", value):
        amounts = re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?!\w)", re.sub(r"(?<=\d),(?=\d{3})", "", text))
        return any(float(amount) == float(value) for amount in amounts)
    return re.search(rf"(?<!\w){re.escape(value.lower())}(?!\w)", text.lower()) is not None


def asks_for(text: str, words: Sequence[str]) -> bool:
    """Whether a text asks the user something, or names what is missing in words that ask for it."""
    sentences = [part for part in re.findall(r"[^.!?\n]+[.!?]?", text.lower()) if not _PLEASANTRY.search(part)]
    if any(sentence.endswith("?") for sentence in sentences):
        return True
    return any(_ASKING.search(sentence) and any(word in sentence for word in words) for sentence in sentences)


def program(said: Said) -> str:
    """The program in an output: of the code contract, or the first fenced block of a text, or the text if it parses."""
    found = re.search(r"```(?:python|py)?[ \t]*\n(.*?)(?:\n```|\Z)", said.output, re.DOTALL)
    return found[1] if found else said.output


def passes(task: Task, said: Sequence[Said], runs: Runs) -> tuple[str, int]:
    """Why a task failed, and at which turn; an empty reason where every turn ended right."""
    for number, turn in enumerate(task.turns):
        reason = failure(turn.end, said[number], runs) if number < len(said) else "no_answer"
        if reason:
            return reason, number
    return "", len(task.turns)


def _code_failure(turn: End, said: Said, runs: Runs) -> str:
    if said.kind not in ("code", "text"):
        return "limit" if said.kind == "other" else "wrong_kind"
    code = program(said)
    try:
        compile(code, "answer", "exec")
    except (SyntaxError, ValueError):
        return "no_program"
    if "def " not in code:
        return "no_program"
    return "" if runs(f"{code}\n\n{turn.tests}") else "tests_failed"


def _cited_failure(turn: End, said: Said) -> str:
    if not said.citations:
        return "not_cited"
    if sorted(said.citations) != sorted(turn.cites):
        return "wrong_citation"
    return "" if all(names(said.output, value) for value in turn.says) else "value_missing"


def _worded(text: str) -> bool:
    """Whether a text says something: at least one word, and no list of calls."""
    return bool(re.search(r"[A-Za-z]{2}", text)) and not text.lstrip().startswith(("[{", "{"))


def _canonical(call: Call) -> str:
    """A call as text; equal for calls that mean the same: case and blanks of texts, 3 and 3.0, defaults left out."""
    known = BY_NAME.get(call["name"])
    schema: dict[str, Any] = known.tool.parameters if known else {}
    properties = schema.get("properties", {})
    kept = {
        name: _plain(value)
        for name, value in call["arguments"].items()
        if "default" not in properties.get(name, {}) or _plain(value) != _plain(properties[name]["default"])
    }
    return json.dumps([call["name"], kept], sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return " ".join(value.lower().split())
    return int(value) if isinstance(value, float) and value.is_integer() else value
